"""Markov kernels: detailed balance, exact weights, and nothing that depends on the batch."""

import math

import pytest
import torch
from torch import Tensor

from sciflow.boltzmann import kernels
from sciflow.boltzmann.kernels import HMC, MALA, ULA, Kernel, Metropolis, tune
from sciflow.boltzmann.potentials import Interpolated, LogDensity
from sciflow.rng import normal, sample_generators, step_generator, uniform

BALANCED = {
    "metropolis": Metropolis(1.0),
    "mala": MALA(0.3),
    "hmc": HMC(0.6, leapfrogs=3),
    "hmc, one leapfrog": HMC(1.2, leapfrogs=1),
}
GUMBEL = LogDensity(lambda x: -(x + torch.exp(-x)).sum(-1))  # skewed: mean 0.5772, variance π²/6, log Z = 0


def gumbel(n: int, seed: int = 0) -> Tensor:
    return -(-uniform(n, 1, generator=step_generator(seed), dtype=torch.float64).log()).log()


def asymmetry(x: Tensor, y: Tensor, bins: int = 12) -> float:
    """z-score of the antisymmetric part of the flux between bins: χ² of N_ij − N_ji under detailed balance."""
    edges = torch.quantile(x, torch.linspace(0, 1, bins + 1, dtype=x.dtype)[1:-1])
    flux = torch.bincount(bins * torch.bucketize(x, edges) + torch.bucketize(y, edges), minlength=bins * bins).double()
    flux = flux.reshape(bins, bins)
    pairs = torch.triu(flux + flux.T, 1)
    seen = pairs > 20  # few enough counts are not normal
    chi2 = ((flux - flux.T).square()[seen] / pairs[seen]).sum()
    return float((chi2 - seen.sum()) / (2 * seen.sum()).sqrt())


@pytest.mark.parametrize("name", BALANCED)
def test_detailed_balance(name: str) -> None:
    """Of π(x) q(y|x), bin by bin; a χ² of 60 pairs is normal enough for five standard deviations."""
    x = gumbel(100_000)
    move = BALANCED[name].step(x, GUMBEL, step_generator(1))
    assert 0.2 < float(move.accepted.mean()) < 0.98
    assert asymmetry(x[:, 0], move.x[:, 0]) < 5
    assert not move.logw.any()


def test_the_test_of_detailed_balance_can_fail() -> None:
    x = gumbel(100_000)
    assert asymmetry(x[:, 0], ULA(0.3).step(x, GUMBEL, step_generator(1)).x[:, 0]) > 20


@pytest.mark.parametrize("name", BALANCED)
def test_a_kernel_converges_to_its_target(name: str) -> None:
    n = 4000
    x = BALANCED[name].run(torch.full((n, 1), 4.0).double(), GUMBEL, 60, step_generator(2)).x
    assert float(x.mean()) == pytest.approx(0.57722, abs=5 * math.pi / math.sqrt(6 * n))
    # the fourth cumulant of the Gumbel law is π⁴/15
    variance = math.pi**2 / 6
    error = math.sqrt((math.pi**4 / 15 + 2 * variance**2) / n)
    assert float(x.var()) == pytest.approx(variance, abs=5 * error)


@pytest.mark.parametrize("size", [0.02, 0.3])
def test_unadjusted_langevin_weighs_its_error(size: float) -> None:
    """E[w] = 1 and E[w f(y)] = π(f) from exact samples, at any step size."""
    n = 100_000
    move = ULA(size).run(gumbel(n), GUMBEL, 3, step_generator(3))
    w = move.logw.exp()
    assert float(w.std()) > 1e-3
    assert float(w.mean()) == pytest.approx(1, abs=5 * float(w.std()) / math.sqrt(n))
    wx = w * move.x[:, 0]
    assert float(wx.mean()) == pytest.approx(0.57722, abs=5 * float(wx.std()) / math.sqrt(n))


def test_the_weight_of_langevin_is_the_ratio_of_its_proposals() -> None:
    x, size = normal(50, 3, generator=step_generator(4), dtype=torch.float64), 0.1
    move = ULA(size).step(x, GUMBEL, step_generator(5))

    def log_q(y: Tensor, x: Tensor) -> Tensor:
        drift = GUMBEL.energy_and_force(x)[1]
        return torch.distributions.Normal(x + size * drift, math.sqrt(2 * size)).log_prob(y).sum(-1)

    ratio = log_q(x, move.x) - log_q(move.x, x) + GUMBEL.energy(x) - GUMBEL.energy(move.x)
    torch.testing.assert_close(move.logw, ratio, atol=1e-9, rtol=1e-12)


def test_the_weight_of_small_steps_in_single_precision() -> None:
    """Under a constant force it is zero, at steps of 1e-4 from points of order one as well; energies round to 4e-6."""
    slope = LogDensity(lambda x: x.sum(-1))
    x = 1 + normal(200, 30, generator=step_generator(17)).abs()
    assert ULA(1e-8).step(x, slope, step_generator(18)).logw.abs().max() < 2e-5


@pytest.mark.parametrize("kernel", [*BALANCED.values(), ULA(0.1)], ids=[*BALANCED, "ula"])
def test_a_sample_depends_on_its_own_generator_and_step_size(kernel: Kernel) -> None:
    x = normal(6, 2, generator=step_generator(6), dtype=torch.float64)
    sizes = torch.linspace(0.05, 0.6, 6, dtype=torch.float64)
    own = type(kernel)(sizes).run(x, GUMBEL, 3, sample_generators(0, 0, 6))
    alone = type(kernel)(float(sizes[4])).run(x[4:5], GUMBEL, 3, sample_generators(0, 4, 1))
    torch.testing.assert_close(own.x[4:5], alone.x)
    torch.testing.assert_close(own.logw[4:5], alone.logw)


@pytest.mark.parametrize("kernel", [*BALANCED.values(), ULA(0.1)], ids=[*BALANCED, "ula"])
def test_what_is_known_of_a_point_saves_an_evaluation_and_changes_nothing(kernel: Kernel) -> None:
    x, generator = gumbel(200), step_generator(7)
    run = kernel.run(x, GUMBEL, 4, step_generator(7))
    for _ in range(4):
        x = kernel.step(x, GUMBEL, generator).x
    torch.testing.assert_close(run.x, x)
    torch.testing.assert_close(run.energy, GUMBEL.energy(x))


@pytest.mark.parametrize("kernel", [*BALANCED.values(), ULA(0.1)], ids=[*BALANCED, "ula"])
def test_points_outside_of_the_support(kernel: Kernel) -> None:
    """A half normal: nothing crosses the wall at 0 and keeps a weight, and a point outside finds its way in."""
    half = LogDensity(lambda x: torch.where(x[:, 0] > 0, -x[:, 0].square() / 2, -torch.inf))
    inside = normal(500, 1, generator=step_generator(8), dtype=torch.float64).abs()
    move = kernel.run(inside, half, 10, step_generator(9))
    assert ((move.x[:, 0] > 0) | (move.logw == -torch.inf)).all()
    assert not move.logw.isnan().any()
    if kernel.metropolised:
        assert (kernel.run(-0.1 * inside, half, 60, step_generator(10)).x > 0).double().mean() > 0.9


def test_no_draw_accepts_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """One uniform number of float32 in 2²⁴ is zero: as often, a move would be accepted whatever its energy."""
    monkeypatch.setattr(kernels, "uniform", lambda *shape, dtype, **_: torch.zeros(shape, dtype=dtype))
    ratio = torch.tensor([0.0, -17.0, -18.0, -1e6, -torch.inf, torch.inf, torch.nan])
    assert kernels.accept(ratio, None).tolist() == [True, True, False, False, False, True, False]


def test_centred_moves_keep_the_centre_and_the_law_without_it() -> None:
    """Four particles in a plane, unit normal without its centre of mass: E|x|² = 6."""
    normal_law = LogDensity(lambda x: -x.square().flatten(1).sum(-1) / 2)
    x = torch.zeros(2000, 4, 2, dtype=torch.float64)
    for kernel in (Metropolis(0.7, centred=True), MALA(0.5, centred=True), HMC(0.5, centred=True, leapfrogs=3)):
        y = kernel.run(x, normal_law, 60, step_generator(11)).x
        assert y.mean(1).abs().max() < 1e-13
        squares = y.square().flatten(1).sum(-1)
        assert float(squares.mean()) == pytest.approx(6, abs=5 * math.sqrt(12 / len(x)))


@pytest.mark.parametrize("kernel", [Metropolis(20.0), MALA(1e-4), HMC(3.0)], ids=["metropolis", "mala", "hmc"])
def test_tuning_reaches_the_acceptance_asked_for(kernel: Kernel) -> None:
    law = LogDensity(lambda x: -x.square().sum(-1) / 2)
    x = normal(500, 20, generator=step_generator(12), dtype=torch.float64)
    tuned, x = tune(kernel, x, law, 80, 0.6, step_generator(13))
    accepted = tuned.run(x, law, 20, step_generator(14)).accepted
    assert float(accepted.mean()) == pytest.approx(0.6, abs=0.06)  # what 80 steps of Robbins–Monro leave


def test_a_kernel_without_rejections_is_not_tuned() -> None:
    with pytest.raises(ValueError, match="ULA accepts every move"):
        tune(ULA(0.1), gumbel(3), GUMBEL, 1)


@pytest.mark.parametrize("kernel", [Metropolis, ULA, MALA, HMC])
def test_steps_go_forward(kernel: type[Kernel]) -> None:
    for size in (-1, 0.0, math.nan):
        with pytest.raises(ValueError, match=f"{kernel.__name__}: size={size} must be greater than 0"):
            kernel(size)
    with pytest.raises(ValueError, match="leapfrogs=0"):
        HMC(0.1, leapfrogs=0)


@pytest.mark.parametrize("kernel", [ULA(0.1), MALA(0.05), HMC(0.1)], ids=["ula", "mala", "hmc"])
def test_moves_are_differentiable_in_their_start(kernel: Kernel) -> None:
    x = gumbel(3).requires_grad_()
    torch.autograd.gradcheck(lambda x: tuple(kernel.run(x, GUMBEL, 2, step_generator(15)))[::2], (x,))


@pytest.mark.parametrize("kernel", [*BALANCED.values(), ULA(0.3)], ids=[*BALANCED, "ula"])
def test_gradients_are_finite_where_proposals_end_in_a_wall(kernel: Kernel) -> None:
    """Derivatives of r⁻¹² overflow float32 well before their rejected points have no effect."""
    wall = LogDensity(lambda x: -(x[:, 0].abs() ** -12.0))
    x = (0.5 * gumbel(3000).abs() + 1e-4).float().requires_grad_()
    move = kernel.run(x, wall, 3, step_generator(16))
    kept = move.logw.isfinite() & move.energy.isfinite()
    (move.x[:, 0] + move.energy + move.logw)[kept].sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_interpolated_densities(beta: float) -> None:
    x = gumbel(20)
    normal_law = LogDensity(lambda x: -x.square().sum(-1))
    between = Interpolated(normal_law, GUMBEL, beta)
    expected = (1 - beta) * x[:, 0] ** 2 + beta * (x + (-x).exp())[:, 0]
    energy, force = between.energy_and_force(x)
    torch.testing.assert_close(between.energy(x), expected)
    torch.testing.assert_close(energy, expected)
    torch.testing.assert_close(force, -2 * (1 - beta) * x - beta * (1 - (-x).exp()))


def test_an_infinite_energy_does_not_count_at_the_other_end() -> None:
    wall = LogDensity(lambda x: torch.where(x[:, 0] > 0, 0.0, -torch.inf))
    x = torch.tensor([[-1.0]], dtype=torch.float64)
    assert Interpolated(GUMBEL, wall, 0).energy(x).isfinite()
    assert Interpolated(GUMBEL, wall, 0.1).energy(x) == torch.inf
