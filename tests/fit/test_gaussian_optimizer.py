from __future__ import annotations

import io
import math

import pytest
import torch

from agsrec.config import Rates
from agsrec.fit.gaussian_optimizer import _NAMES, GaussianOptimizer
from agsrec.gaussians import Gaussians

NAMES = ("means", "quats", "log_scales", "opacity_logits", "sh")
RATES = Rates()


def cloud(count: int, degree: int = 0, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    bands = (degree + 1) ** 2
    return Gaussians(draw(count, 3), draw(count, 4), draw(count, 3) - 3, draw(count), draw(count, bands, 3))


def steps(optimizer: GaussianOptimizer, count: int = 3, max_scale: float = 10.0) -> None:
    """Steps down a loss that touches every parameter."""
    for i in range(count):
        g = optimizer.gaussians
        sum((getattr(g, name) ** 2).sum() + getattr(g, name).sum() for name in NAMES).backward()  # pyright: ignore
        optimizer.step(i / count, max_scale)


def moments(optimizer: GaussianOptimizer) -> dict[str, dict[str, torch.Tensor]]:
    """Adam's moments by parameter name."""
    kept = optimizer._adam.state_dict()["state"]
    return {name: kept.get(k, {}) for k, name in enumerate(_NAMES)}


def values(optimizer: GaussianOptimizer) -> dict[str, torch.Tensor]:
    return {name: getattr(optimizer.gaussians, name).detach().clone() for name in NAMES}


def test_first_step_has_the_size_of_the_rates() -> None:
    """Adam's first step is the learning rate itself, whatever the gradient."""
    optimizer = GaussianOptimizer(cloud(5, degree=1), RATES, radius=2.0)
    before = values(optimizer)
    steps(optimizer, 1, max_scale=2.0)
    after = values(optimizer)
    change = {name: (after[name] - before[name]).abs() for name in NAMES}
    for name, rate in (("means", 2 * RATES.means), ("quats", RATES.quats), ("log_scales", RATES.log_scales)):
        torch.testing.assert_close(change[name], torch.full_like(change[name], rate), rtol=1e-2, atol=1e-6)
    assert float(change["sh"][:, 0].max()) == pytest.approx(RATES.sh, rel=1e-2)
    assert float(change["sh"][:, 1:].max()) == pytest.approx(RATES.sh_rest, rel=1e-2)
    assert float(change["opacity_logits"].max()) == pytest.approx(RATES.opacity_logits, rel=1e-2)


def test_the_given_gaussians_are_left_alone() -> None:
    given = cloud(5, degree=1)
    copies = {name: getattr(given, name).clone() for name in NAMES}
    steps(GaussianOptimizer(given, RATES, radius=1.0))
    assert all(torch.equal(getattr(given, name), copies[name]) for name in NAMES)


def test_position_rate_decays() -> None:
    moves = []
    for progress in (0.0, 1.0):
        optimizer = GaussianOptimizer(cloud(5), RATES, radius=1.0)
        before = values(optimizer)["means"]
        optimizer.gaussians.means.sum().backward()
        optimizer.step(progress, 10.0)
        moves.append(float((values(optimizer)["means"] - before).abs().mean()))
    assert moves[1] / moves[0] == pytest.approx(RATES.means_decay, rel=1e-2)


def test_scales_stay_within_bounds() -> None:
    optimizer = GaussianOptimizer(cloud(50), RATES, radius=1.0)
    steps(optimizer, 1, max_scale=0.05)
    scales = values(optimizer)["log_scales"]
    assert math.log(0.05e-3) - 1e-6 <= float(scales.min()) and float(scales.max()) <= math.log(0.05) + 1e-6
    assert float(scales.max()) == pytest.approx(math.log(0.05)), "nothing was clamped: the test says nothing"


def test_position_gradient_adds_up() -> None:
    optimizer = GaussianOptimizer(cloud(4), RATES, radius=1.0)
    assert torch.equal(optimizer.position_gradient, torch.zeros(4))
    for _ in range(2):
        (optimizer.gaussians.means * torch.tensor([3.0, 4.0, 0.0])).sum().backward()
        optimizer.step(0.0, 10.0)
    torch.testing.assert_close(optimizer.position_gradient, torch.full((4,), 10.0))


@pytest.mark.parametrize("degree", [0, 2])
def test_survivors_keep_their_moments(degree: int) -> None:
    optimizer = GaussianOptimizer(cloud(6, degree), RATES, radius=1.0)
    steps(optimizer)
    before, old = values(optimizer), moments(optimizer)
    kept, added = torch.tensor([4, 1]), cloud(3, degree=1, seed=9)
    optimizer.replace_with(kept, added)
    after, new = values(optimizer), moments(optimizer)
    for name in NAMES:
        assert torch.equal(after[name][:2], before[name][kept])
    assert torch.equal(after["means"][2:], added.means)
    assert torch.equal(after["sh"][2:], added.with_sh_degree(degree).sh)
    for name, state in new.items():
        if "exp_avg" not in old[name]:
            assert name == "sh_rest" and degree == 0
            continue
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(state[key][:2], old[name][key][kept])
            assert old[name][key][kept].abs().min() > 0
            assert torch.equal(state[key][2:], torch.zeros_like(state[key][2:]))
        assert torch.equal(state["step"], old[name]["step"])
    assert torch.equal(optimizer.position_gradient, torch.zeros(5))
    steps(optimizer)


def test_replacing_before_the_first_step() -> None:
    optimizer = GaussianOptimizer(cloud(3), RATES, radius=1.0)
    optimizer.replace_with(torch.tensor([0]), cloud(2, seed=1))
    steps(optimizer)
    assert len(optimizer.gaussians) == 3


def test_raising_the_degree_changes_no_colour() -> None:
    optimizer = GaussianOptimizer(cloud(5, 1), RATES, radius=1.0)
    steps(optimizer)
    before, old = values(optimizer)["sh"], moments(optimizer)["sh_rest"]
    optimizer.raise_sh_degree(0)
    assert optimizer.gaussians.sh_degree == 1
    optimizer.raise_sh_degree(3)
    sh = values(optimizer)["sh"]
    assert torch.equal(sh[:, :4], before) and torch.equal(sh[:, 4:], torch.zeros(5, 12, 3))
    state = moments(optimizer)["sh_rest"]
    assert torch.equal(state["exp_avg"][:, :3], old["exp_avg"])
    assert torch.equal(state["exp_avg"][:, 3:], torch.zeros(5, 12, 3))
    steps(optimizer)
    assert bool((values(optimizer)["sh"][:, 4:] != 0).all()), "the new coefficients must learn"


@pytest.mark.parametrize("degree", [0, 1])
def test_state_continues_bit_for_bit(degree: int) -> None:
    one = GaussianOptimizer(cloud(6, degree), RATES, radius=1.5)
    steps(one)
    one.raise_sh_degree(2)
    steps(one, 1)
    one.replace_with(torch.arange(5), cloud(4, degree, seed=3))
    steps(one, 2)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = GaussianOptimizer(cloud(9, 2, seed=8), RATES, radius=1.5)
    other.load_state_dict(state)
    assert torch.equal(other.position_gradient, one.position_gradient)
    for optimizer in (one, other):
        steps(optimizer, 4)
        optimizer.replace_with(torch.arange(3), cloud(2, seed=4))
        steps(optimizer, 2)
    for name in NAMES:
        assert torch.equal(values(one)[name], values(other)[name]), name
