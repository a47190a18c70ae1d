"""What points that photos share say about where the photos were taken from."""

from agsrec.matching.agreement import Agreement, Arrangement, Votes, largest_turn, turns_apart
from agsrec.matching.bundle import Bundle, Tracks, adjust_bundle, reprojection_errors, tracks_of, triangulated
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
from agsrec.matching.matches import PairMatches, match_views
from agsrec.matching.networks import Matcher, load_matcher
from agsrec.matching.two_view import Hypothesis, evidence_belief, pair_hypotheses

__all__ = [
    "CLOSE",
    "ROUGH",
    "Agreement",
    "Arrangement",
    "Bundle",
    "Correspondences",
    "EpipolarTerm",
    "Hypothesis",
    "Matcher",
    "PairMatches",
    "Rig",
    "Spread",
    "Tracks",
    "Votes",
    "adjust",
    "adjust_bundle",
    "consistent_matches",
    "epipolar_distances",
    "evidence_belief",
    "largest_turn",
    "load_matcher",
    "match_views",
    "pair_hypotheses",
    "reprojection_errors",
    "supporting_matches",
    "tracks_of",
    "triangulated",
    "turns_apart",
]
