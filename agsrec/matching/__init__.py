"""What points that photos share say about where the photos were taken from."""

from agsrec.matching.agreement import Agreement, Arrangement, Votes, largest_turn
from agsrec.matching.epipolar import (
    CLOSE,
    ROUGH,
    Correspondences,
    EpipolarTerm,
    Rig,
    Spread,
    adjust,
    consistent_matches,
    epipolar_distances,
    supporting_matches,
)
from agsrec.matching.matches import Features, PairMatches, describe_views, match_features, match_views
from agsrec.matching.networks import Matcher, load_matcher
from agsrec.matching.oddities import Lenses, Oddity, OddKind, find_oddities, turned_back
from agsrec.matching.two_view import Hypothesis, evidence_belief, pair_hypotheses

__all__ = [
    "CLOSE",
    "ROUGH",
    "Agreement",
    "Arrangement",
    "Correspondences",
    "EpipolarTerm",
    "Features",
    "Hypothesis",
    "Lenses",
    "Matcher",
    "OddKind",
    "Oddity",
    "PairMatches",
    "Rig",
    "Spread",
    "Votes",
    "adjust",
    "consistent_matches",
    "describe_views",
    "epipolar_distances",
    "evidence_belief",
    "find_oddities",
    "largest_turn",
    "load_matcher",
    "match_features",
    "match_views",
    "pair_hypotheses",
    "supporting_matches",
    "turned_back",
]
