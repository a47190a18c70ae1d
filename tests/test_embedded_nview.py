"""The embedded pose network: what its card says is in the folder, and it poses objects as well as it did."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch

from agsrec.pose_init import initialize
from agsrec.pose_init.nview.weights import load_nview
from agsrec.training.nview_validation import unseen_view_sets, validate_poses
from agsrec.views import Views

FOLDER = Path(__file__).parents[1] / "checkpoints" / "nview-mini"


def test_card_lists_the_files_as_they_are() -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| ([\d,]+) \| `([0-9a-f]{64})` \|$", card, re.MULTILINE)
    assert {name for name, _, _ in rows} == {f.name for f in FOLDER.iterdir()} - {"MODEL_CARD.md"}
    for name, size, digest in rows:
        content = (FOLDER / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size.replace(",", "")), digest)
    assert sum(f.stat().st_size for f in FOLDER.iterdir()) < 18e6


def test_unseen_objects_are_posed_as_well_as_stated() -> None:
    # 14 degrees and 83 % on 16 objects; by chance the median would be some 95.
    report = validate_poses(load_nview(FOLDER), {}, count=6)
    assert report["unseen_median_deg"] < 22 and report["unseen_within_30"] > 0.65


def test_by_its_name_and_the_same_each_time() -> None:
    views, _ = unseen_view_sets(1)[0]
    views = views[[0, 1, 2, 3]]
    first, second = (initialize(views, "nview", device="cpu") for _ in range(2))
    assert torch.equal(first.cameras.viewmats, second.cameras.viewmats)
    assert first.placed.all() and first.points is not None


def test_more_views_than_any_training_batch() -> None:
    sets = unseen_view_sets(3)
    images = torch.cat([v.images for v, _ in sets])
    many = Views(images, tuple(str(k) for k in range(len(images))))
    found = initialize(many, "nview", device="cpu", refine=False)
    assert len(found.placed) == len(images) and bool(found.cameras.viewmats.isfinite().all())


@pytest.mark.parametrize("count", [2, 3])
def test_few_views(count: int) -> None:
    views, _ = unseen_view_sets(1)[0]
    assert len(initialize(views[list(range(count))], "nview", device="cpu").cameras) == count
