"""The embedded pose network: what its card says is in the folder, and it poses objects as well as it did."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch

from agsrec.pose_init import initialize
from agsrec.pose_init.nview.weights import load_nview
from agsrec.training.nview_data import SETS, VIEWS_PER_SET
from agsrec.training.nview_validation import unseen_view_sets, validate_poses
from agsrec.views import Views

FOLDER = Path(__file__).parents[1] / "checkpoints" / "nview-mini"


@pytest.fixture(scope="module")
def objects() -> list[Views]:
    """Photos of three objects."""
    return [views for views, _ in unseen_view_sets(3)]


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


def test_by_its_name_and_the_same_each_time(objects: list[Views]) -> None:
    views = objects[0][[0, 1, 2]]
    first, second = (initialize(views, "nview", device="cpu") for _ in range(2))
    assert torch.equal(first.cameras.viewmats, second.cameras.viewmats)
    assert len(first.cameras) == 3 and first.placed.all() and first.points is not None


def test_more_views_than_any_training_batch(objects: list[Views]) -> None:
    images = torch.cat([views.images for views in objects])[: SETS * VIEWS_PER_SET + 1]
    many = Views(images, tuple(str(k) for k in range(len(images))))
    found = initialize(many, "nview", device="cpu", refine=False)
    assert len(found.placed) == len(images) and bool(found.cameras.viewmats.isfinite().all())


def test_two_views(objects: list[Views]) -> None:
    assert len(initialize(objects[0][[0, 1]], "nview", device="cpu").cameras) == 2
