"""The embedded matcher finds what the authors' code finds with their weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from agsrec.embedded import EMBEDDED_MATCHER
from agsrec.errors import CheckpointError
from agsrec.matching import (
    Matcher,
    PairMatches,
    describe_views,
    load_matcher,
    match_features,
    match_views,
    matches,
)
from agsrec.matching.networks import FEATURES_FILE, MATCHER_FILE
from agsrec.store import Memory
from agsrec.views import Views

# Of the pair below, by the authors' LightGlue (github.com/cvg/LightGlue, 1fd587b) on DISK's 512 strongest
# features, weights in single precision, nothing pruned: matches, their mean score, and the best dozen.
COUNT, SCORE = 336, 0.95338
BEST = [
    *([142, 124, 138, 121], [97, 84, 91, 102], [154, 95, 139, 94], [127, 135, 129, 134]),
    *([115, 142, 121, 143], [103, 71, 91, 90], [132, 119, 130, 120], [149, 124, 144, 119]),
    *([136, 109, 129, 111], [105, 85, 98, 100], [194, 91, 170, 80], [108, 142, 116, 145]),
]


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return load_matcher(EMBEDDED_MATCHER)


def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two pictures [256, 256, 3] of a soft pattern, and how the second is turned [2, 3]."""
    noise = np.random.default_rng(7).random((256, 256, 3)).astype(np.float32)
    layers = [cv2.GaussianBlur(noise, (0, 0), s) * w for s, w in ((1.5, 3.0), (4, 8.0), (10, 16.0))]
    soft = np.sum(layers, axis=0)
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    turn = cv2.getRotationMatrix2D((128, 128), 20, 0.85)
    second = cv2.warpAffine(soft, turn, (256, 256), borderMode=cv2.BORDER_REFLECT)
    return (soft * 255).astype(np.uint8), (second * 255).astype(np.uint8), turn


@torch.inference_mode()
def test_parity_with_the_authors_code(matcher: Matcher) -> None:
    first, second, _ = pair()
    tensors = [torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255 for p in (first, second)]
    features = [matcher.disk(t, n=512)[0] for t in tensors]
    said = matcher.lightglue(
        {
            f"image{k}": {
                "keypoints": f.keypoints[None],
                "descriptors": f.descriptors[None],
                "image_size": torch.tensor([[256, 256]]),
            }
            for k, f in enumerate(features)
        }
    )
    rows = said["matches"][0]
    found = torch.cat([features[0].keypoints[rows[:, 0]], features[1].keypoints[rows[:, 1]]], 1).long()
    assert abs(len(found) - COUNT) <= 0.03 * COUNT
    assert float(said["scores"][0].mean()) == pytest.approx(SCORE, abs=0.01)
    assert sum(best in found.tolist() for best in BEST) >= len(BEST) - 1


def test_matches_are_where_the_pictures_say(matcher: Matcher) -> None:
    """In pixels of the views, whatever was cropped and enlarged on the way."""
    first, second, turn = pair()
    rgba = np.zeros((2, 256, 256, 4), np.uint8)
    rgba[0, 30:220, 40:230], rgba[1, 50:240, 20:210] = 255, 255
    rgba[0, ..., :3], rgba[1, ..., :3] = first, second
    views = Views(torch.from_numpy(rgba).float() / 255, ("a", "b"))
    learned, sift = match_views(views, matcher)
    for found, least in ((learned, 150), (sift, 10)):
        wanted = found.points[:, 0] @ turn[:, :2].T + turn[:, 2]
        off = np.linalg.norm(wanted - found.points[:, 1], axis=1)
        assert len(found) > least and np.median(off) < 0.8
    inside = rgba[0, ..., 3] > 0
    assert all(inside[int(y), int(x)] for x, y in learned.points[:, 0])
    assert (learned.first, learned.second) == (0, 1)


def test_without_networks_sift_is_left() -> None:
    first, second, _ = pair()
    rgba = np.full((2, 256, 256, 4), 255, np.uint8)
    rgba[0, ..., :3], rgba[1, ..., :3] = first, second
    views = Views(torch.from_numpy(rgba).float() / 255, ("a", "b"))
    assert [len(f) > 10 for f in match_views(views, None)] == [True]


def test_another_photo_costs_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views come in another order, too: what is remembered goes by their pictures."""
    first, second, _ = pair()
    rgba = np.full((3, 256, 256, 4), 255, np.uint8)
    rgba[0, ..., :3], rgba[1, ..., :3], rgba[2, ..., :3] = first, second, second[:, ::-1]
    views = Views(torch.from_numpy(rgba).float() / 255, ("a", "b", "c"))

    def matched(chosen: Views) -> list[PairMatches]:
        memory = Memory(tmp_path)
        return match_features(describe_views(chosen, None, memory), None, memory=memory)

    wanted = match_features(describe_views(views[[2, 0, 1]], None), None)
    matched(views[[0, 1]])
    seen: list[int] = []
    sift = matches.sift_features
    monkeypatch.setattr(matches, "sift_features", lambda *given: seen.append(1) or sift(*given))
    found = matched(views[[2, 0, 1]])
    assert len(seen) == 1
    assert [(f.first, f.second) for f in found] == [(f.first, f.second) for f in wanted]
    assert all(np.array_equal(f.points, w.points) for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("damage", ["missing", "empty", "other"])
def test_what_cannot_be_used(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    if damage != "missing":
        for name in (FEATURES_FILE, MATCHER_FILE):
            (folder / name).write_bytes(b"")
    if damage == "other":
        save_file({"weight": torch.zeros(2)}, folder / FEATURES_FILE)
    with pytest.raises(CheckpointError, match=FEATURES_FILE):
        load_matcher(folder)
