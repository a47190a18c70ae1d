"""The optimisation loop: schedule, log, state on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from agsrec.errors import CheckpointError, OptionError
from agsrec.training.config import PhaseConfig
from agsrec.training.loop import Intervals, Phase, read_log, step_generator, training_key
from tests.tiny_prior import tiny_config

CONFIG = PhaseConfig(
    steps=10, batch_size=4, learning_rate=0.1, warmup_steps=2, objects_per_step=1, ema_decay=0.5
)


class Square(nn.Module):
    """Distance of one number from its argument."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(()))

    def forward(self, goal: Tensor) -> Tensor:
        return (self.x - goal).square()


def make_phase(folder: Path, key: str = "key", **options: Any) -> Phase:
    accelerator = Accelerator(cpu=True)
    return Phase("square", Square(), options.pop("config", CONFIG), folder, accelerator, key, **options)


def number(phase: Phase) -> float:
    """What is trained."""
    return next(phase.loss.parameters()).item()


def goal(step: int) -> tuple[Tensor]:
    return (torch.tensor(1.0 + step % 2),)


def test_learning_rate(tmp_path: Path) -> None:
    phase = make_phase(tmp_path)
    rates = [phase.learning_rate(step) for step in range(10)]
    assert rates == pytest.approx([0.05, 0.1, 0.1, *(0.1 * k / 8 for k in range(7, 0, -1))])


def test_steps_log_and_progress(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    validated: list[tuple[int, float]] = []
    phase = make_phase(tmp_path, progress=heard.append)
    first = number(phase)

    def validate(step: int) -> dict[str, float]:
        validated.append((step, number(phase)))
        return {"quality": 2.0 * step}

    phase.run(goal, Intervals(log=4, save=5, validate=10), validate)
    assert phase.done and first == 0 and 0 < number(phase) < 1.5
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert written == heard == read_log(tmp_path)
    assert [(r["step"], "loss" in r) for r in heard] == [(4, True), (8, True), (10, True), (10, False)]
    assert heard[1]["steps"] == 10 and heard[1]["rate"] == pytest.approx(0.1 * 3 / 8)
    assert heard[3]["quality"] == 20.0
    assert 0 <= heard[0]["seconds"] <= heard[2]["seconds"]
    # Validation saw the average, which lags behind, and left the weights as they were.
    state = torch.load(phase.state_file, weights_only=True)
    assert validated[0][0] == 10 and validated[0][1] == float(state["average"]["shadow_params"][0])
    assert validated[0][1] != number(phase) == float(state["weights"]["x"])
    phase.use_average()
    assert number(phase) == validated[0][1]


def test_average_of_the_weights(tmp_path: Path) -> None:
    phase = make_phase(tmp_path, config=replace(CONFIG, steps=3))
    seen: list[float] = []
    phase.run(goal, Intervals(validate=1), lambda step: seen.append(number(phase)) or {})
    raw: list[float] = []
    again = make_phase(tmp_path / "raw", config=replace(CONFIG, steps=3))
    (tmp_path / "raw").mkdir()
    again.run(lambda step: (raw.append(number(again)) or goal(step)[0],), Intervals())
    raw = [*raw[1:], number(again)]
    # The decay warms up: nothing is kept at first, then 1 - 2^-0.75, and at most what is set.
    average = raw[0]
    expected = [average]
    for k, x in enumerate(raw[1:], 1):
        decay = min(1 - (1 + k) ** -0.75, 0.5)
        average = decay * average + (1 - decay) * x
        expected.append(average)
    assert seen == pytest.approx(expected, rel=1e-5)


def test_stops_when_time_is_up_and_goes_on(tmp_path: Path) -> None:
    straight = make_phase(tmp_path / "straight")
    (tmp_path / "straight").mkdir()
    straight.run(goal, Intervals())
    steps = 0
    while True:
        phase = make_phase(tmp_path)
        assert phase.step == steps
        if phase.done:
            break
        phase.run(goal, Intervals(stop_after_seconds=0.0))
        steps += 1
    assert steps == 10 and number(phase) == number(straight)


def test_interrupted_in_the_middle(tmp_path: Path) -> None:
    def interrupt(step: int) -> tuple[Tensor]:
        if step == 7:
            raise KeyboardInterrupt
        return goal(step)

    with pytest.raises(KeyboardInterrupt):
        make_phase(tmp_path).run(interrupt, Intervals(log=1, save=3))
    assert make_phase(tmp_path).step == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.jsonl", "square.pt"]
    # Step 7 is taken again: the log says it once.
    make_phase(tmp_path).run(goal, Intervals(log=1, save=3))
    assert [r["step"] for r in read_log(tmp_path)] == list(range(1, 11))


def test_interrupted_while_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_phase(tmp_path).run(goal, Intervals(stop_after_seconds=0.0))
    before = (tmp_path / "square.pt").read_bytes()

    def half(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        make_phase(tmp_path).run(goal, Intervals())
    assert (tmp_path / "square.pt").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.jsonl", "square.pt"]


def test_state_of_another_training(tmp_path: Path) -> None:
    make_phase(tmp_path).run(goal, Intervals())
    with pytest.raises(CheckpointError, match="other settings or another seed; repeat its --config"):
        make_phase(tmp_path, key="other")
    # States had no key once.
    file = tmp_path / "square.pt"
    state = torch.load(file, weights_only=True)
    for name in ("key", "notes"):
        del state[name]
    torch.save(state, file)
    assert make_phase(tmp_path, key="other").done


def test_damaged_state(tmp_path: Path) -> None:
    file = tmp_path / "square.pt"
    make_phase(tmp_path).run(goal, Intervals())
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"square\.pt is damaged: .*choose another --output") as caught:
        make_phase(tmp_path)
    assert "\n" not in str(caught.value)
    torch.save({"step": 3, "key": "key", "weights": {"y": torch.zeros(1)}}, file)
    with pytest.raises(CheckpointError, match="does not fit this training"):
        make_phase(tmp_path)


def test_divergence_is_reported_before_it_is_saved(tmp_path: Path) -> None:
    def inputs(step: int) -> tuple[Tensor]:
        return (torch.tensor(float("nan") if step == 4 else 1.0),)

    with pytest.raises(OptionError, match=r"the square training has diverged .* learning_rate"):
        make_phase(tmp_path).run(inputs, Intervals(log=50, save=3))
    state = torch.load(tmp_path / "square.pt", weights_only=True)
    assert state["step"] == 3 and state["weights"]["x"].isfinite()


def test_log_survives_a_line_cut_off(tmp_path: Path) -> None:
    with open(tmp_path / "log.jsonl", "w", encoding="utf-8") as file:
        file.write('{"phase": "square", "step": 0, "loss": 1.0}\n{"phase": "squ')
    make_phase(tmp_path).run(goal, Intervals(log=5))
    assert [r["step"] for r in read_log(tmp_path)] == [0, 5, 10]
    with pytest.raises(CheckpointError, match=r"log\.jsonl cannot be read"):
        read_log(tmp_path / "nowhere")


def test_draws_differ_by_seed_phase_process_and_step() -> None:
    given = [(0, "a", 0, 0), (1, "a", 0, 0), (0, "b", 0, 0), (0, "a", 1, 0), (0, "a", 0, 1)]
    drawn = [torch.rand(4, generator=step_generator(*g)) for g in given]
    assert torch.equal(drawn[0], torch.rand(4, generator=step_generator(*given[0])))
    assert all(not torch.equal(drawn[0], other) for other in drawn[1:])


class Stock:
    """Samples of which every second one comes late."""

    def __init__(self) -> None:
        self.missed, self.queued = 0, 3

    def inputs(self, step: int) -> tuple[Tensor]:
        self.missed += step % 2
        return goal(step)


def test_the_log_says_how_well_steps_are_supplied(tmp_path: Path) -> None:
    stock = Stock()
    make_phase(tmp_path).run(stock.inputs, Intervals(log=4), supply=stock)
    records = read_log(tmp_path)
    assert [r["fed_share"] for r in records] == [0.5, 0.5, 0.5]
    assert [r["queued"] for r in records] == [3.0, 3.0, 3.0]


def test_state_and_average_are_kept_by_the_clock(tmp_path: Path) -> None:
    phase, kept = make_phase(tmp_path), []
    raw: list[float] = []

    def inputs(step: int) -> tuple[Tensor]:
        raw.append(number(phase))
        return goal(step)

    phase.run(inputs, Intervals(save_seconds=1e-9), keep=lambda: kept.append(number(phase)))
    assert len(kept) == 9  # the last one is for whoever started the training to write
    assert number(phase) != kept[-1] and kept[3] != raw[4]
    state = torch.load(phase.state_file, weights_only=True)
    assert state["step"] == 10
    with pytest.raises(OptionError, match=r"the interval save_seconds must be positive"):
        Intervals(save_seconds=0.0)


# Each training is a fork of a process that has loaded everything and computed nothing: loading takes long.
LEARNS = """
import os, sys
from pathlib import Path
from tests.training.test_loop import Intervals, goal, make_phase

def learn(last):
    def inputs(step):
        if step == last:
            os.kill(os.getpid(), 9)
        return goal(step)

    make_phase(Path(sys.argv[1])).run(inputs, Intervals(log=1, save=3))

for last in (7, 8, None):
    child = os.fork()
    if not child:
        learn(last)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_without_warning_it_learns_as_if_it_had_not_been(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "killed").mkdir()
    command = [sys.executable, "-c", LEARNS, str(tmp_path / "killed")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split() == ["-9", "-9", "0"], done.stderr
    (tmp_path / "straight").mkdir()
    make_phase(tmp_path / "straight").run(goal, Intervals(log=1))
    curves = [[r["loss"] for r in read_log(tmp_path / name)] for name in ("killed", "straight")]
    assert curves[0] == curves[1] and len(curves[0]) == 10


def test_key() -> None:
    key = training_key(tiny_config(), 0)
    assert key == training_key(tiny_config(), 0)
    assert key != training_key(tiny_config(), 1)
    assert key != training_key(tiny_config(kl_weight=2e-4), 0)


def test_intervals() -> None:
    with pytest.raises(OptionError, match=r"the interval save must be at least 1, not 0"):
        Intervals(save=0)
