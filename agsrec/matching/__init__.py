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
from agsrec.matching.matches import (
    Features,
    PairMatches,
    describe_views,
    match_features,
    match_views,
    mutual_nearest,
)
from agsrec.matching.motion import stands_still
from agsrec.matching.networks import Matcher, load_matcher
from agsrec.matching.oddities import Lenses, Oddity, OddKind, find_oddities, turned_back
from agsrec.matching.surroundings import Whole, background_only, is_plain, match_wholes, standing_features
from agsrec.matching.two_view import Hypothesis, belief_in, evidence_belief, pair_hypotheses

__all__ = [
    "CLOSE",
    "ROUGH",
    "Agreement",
    "Arrangement",
    "Bundle",
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
    "Tracks",
    "Votes",
    "Whole",
    "adjust",
    "adjust_bundle",
    "background_only",
    "belief_in",
    "consistent_matches",
    "describe_views",
    "epipolar_distances",
    "evidence_belief",
    "find_oddities",
    "is_plain",
    "largest_turn",
    "load_matcher",
    "match_features",
    "match_views",
    "match_wholes",
    "mutual_nearest",
    "pair_hypotheses",
    "reprojection_errors",
    "standing_features",
    "stands_still",
    "supporting_matches",
    "tracks_of",
    "triangulated",
    "turned_back",
    "turns_apart",
]
