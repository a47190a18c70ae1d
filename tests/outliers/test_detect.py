from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module

import pytest
import torch

from agsrec.errors import OptionError
from agsrec.outliers import Correction, OutlierConfig, detect, most_outliers
from agsrec.outliers.detect import Trial, pair_score, scores
from tests.outliers.quick import WRONG, photos, quick_loop, turned
from tests.tiny import rough


def test_how_many_views_may_go() -> None:
    assert [most_outliers(n) for n in range(1, 12)] == [0, 0, 0, 1, 1, 2, 3, 4, 4, 4, 4]


def test_scores_of_known_errors() -> None:
    errors = torch.tensor([1.0, 1.0, 1.0, math.e], dtype=torch.float64)
    # The mean falls from (3 + e) / 4 to 1 when the last goes, and stays as it is otherwise.
    without = torch.tensor([errors.mean()] * 3 + [1.0], dtype=torch.float64)
    found = scores(errors, without)
    expected = (1 + 3 * 4 * math.log((3 + math.e) / 4)) / 4
    assert found.tolist() == pytest.approx([0, 0, 0, expected], abs=1e-9)


def test_the_score_of_two_that_hide_each_other() -> None:
    # With either of two wrong views gone the other still spoils the fit; with both gone all others agree.
    errors, mean = (1.0, 1.0, 1.0, 1.0, math.e, math.e), (4 + 2 * math.e) / 6
    without = (mean, mean, mean, mean, 0.95 * mean, 0.95 * mean)
    alone = scores(torch.tensor(errors).double(), torch.tensor(without).double())
    trial = Trial(tuple(range(6)), errors, without, tuple(alone.tolist()), None)
    assert float(alone.max()) < 0.5 < 1 < pair_score(trial, (4, 5), 1.0)
    assert pair_score(trial, (4, 5), 1.0) == pytest.approx((1 + 3 * 3 * math.log(mean)) / 4)
    assert pair_score(trial, (0, 1), mean) == pytest.approx(0)
    assert pair_score(trial, (4, 5), math.inf) == -math.inf


def test_two_that_hide_each_other_are_tried_together(monkeypatch: pytest.MonkeyPatch) -> None:
    views, truth = photos()
    wrong = {1, WRONG}

    def errors(self: object, chosen: Sequence[int]) -> torch.Tensor:
        # Alone each is found easily; of two, either spoils the others' fit as much as both do.
        present = wrong & set(chosen)
        others = 1.5 if present else 1.0
        return torch.tensor([2.0 if view in present else others for view in chosen])

    monkeypatch.setattr(import_module("agsrec.outliers.detect")._Probes, "errors", errors)
    found = detect(views, truth, quick_loop())
    assert sorted(found.suspects) == [1, WRONG]
    assert found.trials[0].pair is not None and found.trials[0].left_out == found.trials[0].pair.views[0]
    assert max(found.trials[0].scores) < quick_loop().suspicion and found.trials[1].pair is None


def test_a_fit_that_cannot_be_made_accuses_nobody() -> None:
    errors = torch.ones(4, dtype=torch.float64)
    found = scores(errors, torch.tensor([1.0, 1.0, torch.inf, 1.0], dtype=torch.float64))
    assert found.argmax() != 2 and float(found[2]) == -math.inf


def test_the_wrong_view_is_suspected_and_no_other(repaired: Correction) -> None:
    assert repaired.detection.suspects == (WRONG,)
    first, second = repaired.detection.trials
    assert first.kept == tuple(range(8)) and first.left_out == WRONG and second.left_out is None
    assert WRONG not in second.kept
    ranked = sorted(first.scores)
    assert ranked[-1] == first.scores[WRONG] > 2 * ranked[-2]


def test_two_wrong_views_go_one_after_the_other() -> None:
    views, truth = photos()
    cameras = turned(turned(rough(truth, 4.0), 1, 150), WRONG, 120)
    found = detect(views, cameras, quick_loop())
    assert sorted(found.suspects) == [1, WRONG] and len(found.trials) == 3


def test_three_views_are_taken_as_they_are() -> None:
    views, truth = photos()
    found = detect(views[[0, 1, 2]], turned(truth[[0, 1, 2]], 1, 120), quick_loop())
    assert found.suspects == () and found.trials == ()


@pytest.mark.parametrize("option", [{"suspicion": 0.0}, {"same_deg": -1.0}, {"ambiguous": 1.0}])
def test_options_are_checked(option: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(option))):
        OutlierConfig(**option)  # pyright: ignore[reportArgumentType]
