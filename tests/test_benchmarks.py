"""The benchmarks run and record what a figure needs to be believed."""

from __future__ import annotations

import importlib
import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agsrec.cameras import Cameras
from agsrec.config import PRESETS, Stage
from agsrec.pose_init import PoseEstimate
from agsrec.pose_init.noposplat.config import NoPoSplatConfig
from agsrec.pose_init.noposplat.model import NoPoSplat
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.model import DUSt3R
from agsrec.radiance import RadianceConfig, RadianceLevel
from tests.tiny import tiny_config

ROOT = Path(__file__).resolve().parent.parent
ABOUT = {"date", "processor", "threads", "versions", "commit"}


STAND_IN = """
import json, pathlib, sys, time
time.sleep({seconds})
assert sys.argv[1:3] == ["--category", "mug"], sys.argv
folder = pathlib.Path(sys.argv[-1]) / "{name}"
folder.mkdir()
(folder / "metrics.json").write_text(json.dumps({{"input": {{"psnr": {psnr}}}}}))
"""

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A benchmark run with some options, in this process: another one would load everything anew."""

    def run(script: str, *options: str) -> Done:
        file = ROOT / "benchmarks" / script
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [str(file), *options])
        monkeypatch.setattr(sys, "path", [str(file.parent), *sys.path])
        loaded = set(sys.modules)
        code: str | int | None = None
        try:
            runpy.run_path(str(file), run_name="__main__")
        except SystemExit as end:
            code = end.code
        for name in set(sys.modules) - loaded:  # there are several of the name `prior`
            if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(ROOT / "benchmarks"):
                del sys.modules[name]
        printed = capsys.readouterr()
        return Done(options, int(code or 0), printed.out, printed.err)

    return run


@pytest.mark.slow
def test_rasterize(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    options = ["--seconds", "0", "--gaussians", "5000", "--skip-compilation", "--json", str(file)]
    done = run("rasterize.py", *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert ABOUT <= content.keys()
    rendering, scoring, loss = content["benchmarks"][:3]
    at_256 = rendering["rows"][0]
    # The scene is the one that published figures are about.
    assert at_256["size (px)"] == 256 and at_256["Gaussians"] == 5000
    assert at_256["median radius (px)"] == pytest.approx(6.5, abs=0.2)
    assert 0.4 < at_256["cover"] < 0.6
    for timing in (at_256["forward + backward (ms)"], loss["rows"][0]["fused (ms)"]):
        assert 0 < timing["low"] <= timing["median"] <= timing["high"]
    assert scoring["rows"][0]["poses / s"] > 0


@pytest.mark.slow
def test_guided_step(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    options = ["--steps", "3", "--sizes", "32", "--views", "3", "--seconds", "0", "--device", "cpu"]
    done = run("guided_step.py", *options, "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "jordan, 3 views, 2 shown, preset fast" in done.stdout
    content = json.loads(file.read_text(encoding="utf-8"))
    assert ABOUT <= content.keys() and content["scene"] == "jordan" and content["views"] == 3
    (row,) = content["sizes"]
    for part in ("without", "guided", "guidance"):
        assert 0 < row[part]["low"] <= row[part]["median"] <= row[part]["high"]
    assert row["size"] == 32 and row["guided"]["low"] > row["without"]["low"]


@pytest.mark.slow
def test_dust3r_cost(run: Run, tmp_path: Path) -> None:
    file, network = tmp_path / "figures.json", tmp_path / "config.json"
    config = DUSt3RConfig(
        image_size=(32, 32), square_images=True, enc_width=32, enc_depth=1, enc_heads=2, dec_width=32,
        dec_depth=1, dec_heads=2,
    )  # fmt: skip
    network.write_text(json.dumps(config.to_published()), encoding="utf-8")
    options = ["--views", "3", "--pairs", "2", "--iterations", "3", "--network", str(network)]
    done = run("dust3r_cost.py", *options, "--dtype", "bfloat16", "--device", "cpu", "--json", str(file))
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert ABOUT <= content.keys()
    assert content["parameters"] == sum(p.numel() for p in DUSt3R(config).parameters())
    assert (content["views"], content["dtype"], content["aligned_pairs"]) == (3, "bfloat16", 6)
    assert min(content[f"{part}_seconds"] for part in ("image", "pair", "alignment")) > 0
    assert content["peak_bytes"] > 2**26  # Python with PyTorch takes more


@pytest.mark.slow
def test_noposplat_cost(run: Run, tmp_path: Path) -> None:
    file, network = tmp_path / "figures.json", tmp_path / "config.json"
    transformer = DUSt3RConfig(
        image_size=(64, 64), square_images=True, enc_width=32, enc_depth=1, enc_heads=2, dec_width=32,
        dec_depth=4, dec_heads=2, head="dpt", dpt_width=8, dpt_last_width=4, dpt_level_widths=(4, 4, 4, 4),
    )  # fmt: skip
    config = NoPoSplatConfig(transformer=transformer)
    network.write_text(json.dumps(config.to_settings()), encoding="utf-8")
    options = ["--network", str(network), "--device", "cpu", "--json", str(file)]
    done = run("noposplat_cost.py", "--dtype", "bfloat16", *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert ABOUT <= content.keys()
    for views in ("2", "3"):
        cost = content[views]
        assert cost["parameters"] == sum(p.numel() for p in NoPoSplat(config).parameters())
        assert min(cost[f"{part}_seconds"] for part in ("image", "group", "group_cpu")) > 0
    done = run("noposplat_cost.py", "--exact", "1", *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["noise_0"]["max_deg"] < 0.01 < content["noise_0.01"]["max_deg"]


@pytest.mark.slow
def test_mini_noposplat(run: Run, tmp_path: Path) -> None:
    """Beside `nview` on the same pairs; errors that fall as one over the steps are carried on."""
    transformer = DUSt3RConfig(
        image_size=(32, 32), square_images=True, patch_size=8, enc_width=16, enc_depth=1, enc_heads=2,
        dec_width=16, dec_depth=4, dec_heads=2, head="dpt", dpt_width=8, dpt_last_width=8,
        dpt_level_widths=(8, 8, 8, 8),
    )  # fmt: skip
    network = NoPoSplat(NoPoSplatConfig(transformer=transformer, sh_degree=0))
    network.initialize(torch.Generator().manual_seed(0)).save_pretrained(tmp_path / "model")
    records = [{"phase": "centers", "step": step, "rotation_deg": 1e6 / step} for step in (8000, 20_000)]
    lines = [json.dumps(record) + "\n" for record in records]
    (tmp_path / "log.jsonl").write_text("".join(lines), encoding="utf-8")
    done = run("mini_noposplat.py", str(tmp_path), "--objects", "1")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    seen = [row[1] for row in rows if row and row[0] == "centers"]
    assert seen == ["8000", "20000"]
    (usual,) = (row for row in rows if row and row[0] == "nview")
    assert usual[1] == "3" and 0 < float(usual[2]) < 180
    assert int(done.stdout.split()[-2]) == pytest.approx(1e6 / float(usual[2]), rel=0.01)


@pytest.mark.slow
def test_pose_search(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "fast", tiny_config(60))
    file = tmp_path / "figures.json"
    done = run("pose_search.py", "--random", "1", "--views", "3", "--limit", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert ABOUT <= content.keys()
    (scene,) = content["scenes"]
    (search,) = scene["searches"]
    assert scene["views"] == 3 and 0 <= search["best"] <= search["error"] <= 180
    assert search["seconds"] > 0


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        ("guided_step.py", ["nowhere", "--device", "cpu"], "error: unknown category 'nowhere'"),
        ("dust3r_cost.py", ["--network", "nowhere.json"], "error: nowhere.json: no such file"),
        ("between_photos.py", ["nowhere"], "nowhere has neither transforms.json nor cameras.json"),
        ("mini_noposplat.py", ["nowhere"], "log.jsonl cannot be read"),
        ("referee.py", ["nowhere"], "nowhere has neither transforms.json nor cameras.json"),
        ("pose_search.py", [], "error: name a folder with ground truth, or use --random"),
    ],
)
def test_a_mistake_is_one_sentence(run: Run, script: str, options: list[str], message: str) -> None:
    done = run(script, *options)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("script", ["run.py", "day.py"])
def test_gpu_without_cuda(run: Run, script: str, tmp_path: Path) -> None:
    done = run(f"gpu/{script}", "--output", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr == "error: this needs a CUDA device, and PyTorch sees none here\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_day_on_a_gpu_on_the_cpu(run: Run, tmp_path: Path) -> None:
    """A step that fails is put down, what is done is not done again, and the parts join to the model."""
    options = ["--output", str(tmp_path), "--dry_run", "--part_mib", "0.05"]
    (tmp_path / "runs").write_text("in the way")
    done = run("gpu/day.py", *options, "--steps", "gsplat", "fast", "pace", "train", "parts")
    assert done.returncode == 1 and "not done: fast" in done.stdout, done.stderr
    content = json.loads((tmp_path / "day.json").read_text(encoding="utf-8"))
    states = {name: record["state"] for name, record in content["steps"].items()}
    assert states == dict.fromkeys(("gsplat", "pace", "train", "parts"), "done") | {"fast": "failed"}
    trained = content["steps"]["train"]["figures"]
    assert trained["step"] == trained["steps"] and 0 <= trained["fed_share"] <= 1
    (tmp_path / "runs").unlink()
    again = run("gpu/day.py", *options, "--steps", "gsplat", "pace", "train", "parts")
    assert again.returncode == 0 and "4 of 4" in again.stdout and "at most" not in again.stdout
    line = (tmp_path / "parts" / "JOIN.txt").read_text()
    subprocess.run(line, shell=True, cwd=tmp_path / "parts", check=True, capture_output=True)
    for file in (tmp_path / "train" / "model").iterdir():
        assert (tmp_path / "parts" / "model" / file.name).read_bytes() == file.read_bytes()


def test_whoever_renders_faster_trains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "gpu"))
    agenda, day = importlib.import_module("agenda"), importlib.import_module("day")
    monkeypatch.setattr(sys, "argv", ["day.py", "--output", str(tmp_path), "--dry_run"])
    steps = {step.name: step for step in agenda.agenda(agenda.Day.of(day.options()))}
    for name, seconds in (("pace", 2.0), ("pace_drawn", 1.0)):
        (tmp_path / name).mkdir()
        record = {"phase": "nview", "step": 10, "steps": 10, "loss": 1.0, "seconds": seconds}
        (tmp_path / name / "log.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    command = steps["train"].command(90.0)
    assert command[command.index("--render") + 1] == "device"
    assert json.loads((tmp_path / "train-settings.json").read_text())["training"]["steps"] == 6


@pytest.mark.slow
def test_between_photos(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = PRESETS["fast"]
    last = replace(usual.rounds[-1], stages=(Stage(16, 60),))
    monkeypatch.setitem(PRESETS, "fast", replace(usual, rounds=(*usual.rounds[:-1], last)))
    file = tmp_path / "figures.json"
    options = ["--views", "3", "--size", "16", "--variants", "nothing", "all", "--json", str(file)]
    done = run("between_photos.py", str(ROOT / "data" / "demo" / "toy"), *options)
    assert done.returncode == 0, done.stderr
    records = json.loads(file.read_text())
    assert [r["variant"] for r in records] == ["nothing", "all"]
    assert all(8 < r["psnr"] < 40 and r["pair_error_deg"] > 0 for r in records)
    assert records[0]["psnr"] != records[1]["psnr"]


@pytest.mark.slow
def test_cutouts(run: Run, tmp_path: Path) -> None:
    for k in range(3):
        mask = np.zeros((120, 160), dtype=np.uint8)
        mask[30:90, 50 + 5 * k : 110] = 255
        rgb = np.where(mask[..., None] > 0, (220, 50, 40), (120, 130, 125)).astype(np.uint8)
        for folder, image in (("images", rgb), ("masks", mask)):
            (tmp_path / "thing" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "thing" / folder / f"{k}.png")
    file = tmp_path / "figures.json"
    done = run("cutouts.py", str(tmp_path / "thing"), "--without", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert ABOUT <= content.keys()
    rows = [row for row in content["rows"] if row["Object"] == "thing"]
    assert [row["Method"] for row in rows] == ["grabcut", "plain", "default"]
    for row in rows:
        assert row["Photos"] == 2 and row["overlaps"].keys() == {"0", "2"}
        assert row["IoU"] > 0.85 and row["Boundary"] > 0.5 and row["Seconds"] > 0


@pytest.mark.slow
def test_referee(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brief = RadianceConfig(object_size=16, levels=(RadianceLevel(8, 20),), batch=256)
    monkeypatch.setattr("agsrec.radiance.RadianceConfig", lambda: brief)
    file = tmp_path / "figures.json"
    options = ["--degrees", "5", "60", "--seeds", "0", "1", "--json", str(file)]
    done = run("referee.py", str(ROOT / "data" / "demo" / "toy"), *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert ABOUT <= content.keys()
    (record,) = content["scenes"]
    assert record["scene"] == "toy" and record["degrees"] == [0, 5, 60]
    assert abs(record["rank"]) == pytest.approx(1)  # of two disturbances
    assert record["psnr"] == pytest.approx([sum(photos) / 4 for photos in record["by_photo"]])
    assert len(set(record["psnr"])) == 3 and f"{record['psnr'][0]:.2f}" in done.stdout.splitlines()[-1]
    assert record["smallest"]["error"] > 0 and record["seconds_per_field"] > 0


@pytest.mark.slow
def test_points(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows for the hull and for points, with all rounds and the last."""
    rounds = tiny_config(4, size=32).rounds
    monkeypatch.setitem(PRESETS, "fast", replace(tiny_config(4, size=32), rounds=(*rounds, *rounds)))
    done = run("points.py", "--objects", "1", "--views", "3", "--off", "0.02", "--size", "32")
    assert done.returncode == 0, done.stderr
    for row in ("hull", "points, 0.02 off"):
        assert done.stdout.count(row) == 2


def test_many_photos(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is registered counts by what it shows: here three of the object and one of something else."""

    def posed(
        photos: Sequence[torch.Tensor], names: Sequence[str], zooms: Sequence[float] | None
    ) -> PoseEstimate:
        assert zooms is not None and len(zooms) == 6 and sorted(zooms)[2:4] == [1.0, 1.0]
        assert [name[0] for name in names] == ["a"] * 4 + ["z"] * 2 and photos[0].shape == (32, 32, 4)
        Ks = Cameras.intrinsics(torch.full((4,), 40.0), 32, 32)
        cameras = Cameras.orbit(torch.zeros(4), torch.arange(4) * 90.0, 2.0, Ks=Ks, width=32, height=32)
        placed = torch.tensor([True, True, True, False, True, False])
        return PoseEstimate(cameras, placed, placed.float())

    monkeypatch.setattr("agsrec.pose_init.ace0.initializer.pose_many", posed)
    done = run("many_photos.py", "random-3", "--counts", "4", "--size", "32", "--foreign", "0.5", "--here")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["photos"] == 4 and found["registered"] == 0.75 and found["foreign"] == [1, 2]
    assert 0 <= found["good"] <= 0.75 and found["memory_mib"] > 50


@pytest.mark.skipif(sys.platform != "linux", reason="it measures by /proc")
def test_fuzz(run: Run, tmp_path: Path) -> None:
    """Each reader has files that are read as they are, and a few changed ones."""
    file = tmp_path / "figures.json"
    targets = ["record", "cameras.json", "ply"]
    done = run("fuzz.py", "--inputs", "60", "--targets", *targets, "--json", str(file))
    assert done.returncode == 0, done.stdout
    content = json.loads(file.read_text(encoding="utf-8"))
    assert ABOUT <= content.keys()
    assert [reader["target"] for reader in content["readers"]] == targets
    for reader in content["readers"]:
        assert reader["accepted"] + reader["refused"] == 20 and reader["failures"] == {}
        assert reader["target"] == "record" or reader["refused"] > 5


def test_growth_is_the_power_of_the_number(run: Run, tmp_path: Path) -> None:
    small = ["--views", "1", "2", "--gaussians", "50", "100", "--pixels", "16", "32", "--seconds", "0"]
    done = run("growth.py", *small, "--json", str(tmp_path / "growth.json"))
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "growth.json").read_text())
    assert ABOUT <= content["machine"].keys()
    assert [(s["what"], s["number"]) for s in content["steps"]] == [
        *(("views", n) for n in (1, 2)),
        *(("gaussians", n) for n in (50, 100)),
        *(("pixels", n) for n in (16, 32)),
    ]
    first, second = content["steps"][4:]
    grown = second["timing"]["median"] / first["timing"]["median"]
    assert first["power"] is None and 4 ** second["power"] == pytest.approx(grown)


def test_whole_runs_of_two_trees_are_set_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = {name: tmp_path / name for name in ("old", "new")}
    for seconds, (name, tree) in enumerate(trees.items()):
        tree.mkdir()
        (tree / "run.py").write_text(STAND_IN.format(seconds=1 - seconds, psnr=20 + seconds, name=name))
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    namespace = runpy.run_path(str(ROOT / "benchmarks/whole_run.py"))
    old, new = (namespace["run"](tree, ["--category", "mug"]) for tree in trees.values())
    assert old.wall - new.wall > 0.5 and (old.psnr, new.psnr) == (20, 21) and old.pairs is None
