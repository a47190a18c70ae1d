"""The pose network's card says what log, settings and benchmark say, and the files' true digests."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from agsrec.errors import CheckpointError
from agsrec.export.tables import text_table
from agsrec.pose_init.nview import NView, NViewConfig
from agsrec.pose_init.nview.weights import save_nview
from agsrec.training.config import PhaseConfig
from agsrec.training.nview import NViewTrainConfig
from agsrec.training.nview_card import NViewMaking, write_nview_card

NETWORK = NViewConfig(
    image_size=32, tokens=10, width=32, heads=2, blocks="FGF", match_after=1, match_channels=8
)
PHASE = PhaseConfig(
    steps=4000, batch_size=16, learning_rate=3e-3, warmup_steps=2, objects_per_step=0.5, ema_decay=0.9
)
RECORDS = [
    {"phase": "nview", "step": 50, "loss": 9.0, "seconds": 10.0},
    {"phase": "nview", "step": 4000, "loss": 5.25, "seconds": 5400.0},
    {"phase": "nview", "step": 4000, "unseen_median_deg": 18.0},
]
ROWS = [
    {"Photos": "25 random, ring", "Views": "8", "Median (°)": "17.3", "Seconds": "1.1"},
    {"Photos": "jordan", "Views": "4", "Median (°)": "43.8", "Seconds": "0.9"},
]
MAKING = NViewMaking(
    NViewTrainConfig(NETWORK, pool_objects=3, training=PHASE),
    "mini",
    7,
    RECORDS,
    "one small machine",
    ROWS,
    "2026-01-02; Some CPU, 2 threads",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_nview(NView(NETWORK), tmp_path / "some-name")
    return tmp_path / "some-name"


def test_card(folder: Path) -> None:
    file = write_nview_card(folder, MAKING)
    text = file.read_text(encoding="utf-8")
    assert file == folder / "MODEL_CARD.md" and text.startswith("# some-name\n")
    count = sum(w.numel() for w in NView(NETWORK).state_dict().values())
    assert f"{count:,} parameters, stored in half precision. 32 x 32 pixels per view, the 10 patches" in text
    assert "3 blocks of width 32 with 2 heads, F G F (" in text
    # 3 objects at first and every second step another; the last one came in before the last step.
    assert "| 4,000 | 16 | 64,000 | 0.003 | 2,002 | 5.2500 | 1.5 |" in text
    assert "Hardware: one small machine." in text
    assert "| 25 random, ring | 8 | 17.3 | 1.1 |" in text and "| jordan | 4 | 43.8 | 0.9 |" in text
    assert "2026-01-02; Some CPU, 2 threads" in text
    assert "agsrec train nview --config mini --seed 7 --output output/some-name" in text
    weights = (folder / "model.safetensors").read_bytes()
    assert f"| model.safetensors | {len(weights):,} | `{hashlib.sha256(weights).hexdigest()}` |" in text
    # Written again, it does not describe itself.
    assert write_nview_card(folder, MAKING).read_text(encoding="utf-8") == text


def test_a_training_cut_short_is_told(folder: Path) -> None:
    text = write_nview_card(folder, replace(MAKING, records=RECORDS[:1])).read_text(encoding="utf-8")
    assert "| 50 of 4,000, stopped early | 16 | 800 |" in text


def test_a_training_that_went_on_tells_from_what(folder: Path) -> None:
    text = write_nview_card(folder, replace(MAKING, start="output/first/model")).read_text(encoding="utf-8")
    assert "--seed 7 --start output/first/model --output output/some-name" in text and "WiSE-FT" not in text
    shared = replace(MAKING, config=replace(MAKING.config, start_share=0.5))
    assert "with a share of 0.5" in write_nview_card(folder, shared).read_text(encoding="utf-8")


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no safetensors file"):
        write_nview_card(tmp_path / "empty", MAKING)
    with pytest.raises(CheckpointError, match=r"no model card for .*some-name: IndexError"):
        write_nview_card(folder, replace(MAKING, records=RECORDS[2:]))
    with pytest.raises(CheckpointError, match="no rows of the benchmark"):
        write_nview_card(folder, replace(MAKING, quality=[]))
    assert not (folder / "MODEL_CARD.md").exists()


def test_rows_are_read_from_what_the_benchmark_prints() -> None:
    path = Path(__file__).parents[2] / "scripts" / "make_checkpoint.py"
    spec = importlib.util.spec_from_file_location("make_checkpoint", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.printed_table(f"some machine; today\n{text_table(ROWS)}\n") == ("some machine; today", ROWS)
    with pytest.raises(CheckpointError, match="printed no table"):
        script.printed_table("some machine; today\n")
