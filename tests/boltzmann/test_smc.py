"""Annealed importance sampling and sequential Monte Carlo: exact constants, honest errors."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sciflow.boltzmann.annealed import Annealed
from sciflow.boltzmann.free_energy import one_sided
from sciflow.boltzmann.kernels import HMC, MALA, ULA, Kernel, Metropolis
from sciflow.boltzmann.potentials import LogDensity
from sciflow.boltzmann.smc import ais, smc
from sciflow.boltzmann.targets import DoubleWell
from sciflow.errors import InputError
from sciflow.manifolds import Euclidean
from sciflow.rng import normal, sample_generators, step_generator

KERNELS = {
    "ula": ULA(0.05),
    "mala": MALA(0.1),
    "hmc": HMC(0.3, leapfrogs=3),
    "metropolis": Metropolis(0.6),
}
GRID = torch.linspace(0, 1, 9, dtype=torch.float64)


@dataclass
class Gaussian:
    """N(mean, s²) in d dimensions: a proposal, and its energy without the normaliser times a constant."""

    d: int = 2
    s: float = 1.0
    mean: float = 0.0

    def sample(self, n: int, generator=None) -> tuple[Tensor, Tensor]:
        x = self.mean + self.s * normal(n, self.d, generator=generator, dtype=torch.float64)
        return x, self.log_prob(x)

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.distributions.Normal(self.mean, self.s).log_prob(x).sum(-1)


def shifted(log_z: float = 2.0) -> LogDensity:
    """exp(−energy) with ∫ = exp(log_z): N(0.7, 0.6²) in the plane."""
    return LogDensity(lambda x: log_z + Gaussian(s=0.6, mean=0.7).log_prob(x))


def assert_known(run: Annealed, log_z: float, mean: float) -> None:
    """Z and the mean of x₁ within five errors; e^ε is normal enough at the errors that these runs have."""
    estimate, error = run.log_z()
    assert error < 0.1
    assert estimate == pytest.approx(log_z, abs=5 * error + 1e-12)
    n = len(run.samples) * run.ess()
    assert float(run.samples.mean(run.samples.x[:, 0])) == pytest.approx(mean, abs=5 * 0.6 / math.sqrt(n))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_ais_finds_the_constant_and_the_mean(kernel: Kernel) -> None:
    run = ais(Gaussian(), shifted(), kernel, 4000, GRID, generator=step_generator(0))
    assert_known(run, 2.0, 0.7)
    assert run.ess() == pytest.approx(run.samples.ess())


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_smc_finds_the_constant_and_the_mean(kernel: Kernel) -> None:
    run = smc(Gaussian(), shifted(), kernel, 4000, threshold=0.95, moves=2, generator=step_generator(1))
    assert sum(stage.resampled for stage in run.stages) >= 2
    assert run.ess() < run.samples.ess()
    assert_known(run, 2.0, 0.7)


@pytest.mark.parametrize("betas", [GRID, GRID**2, 0.5, 0.99])
def test_increments_sum_to_one(betas: Tensor | float) -> None:
    """A target that is the proposal times e^c has every weight e^c, whatever the steps of a balanced kernel."""
    run = smc(Gaussian(), LogDensity(lambda x: Gaussian().log_prob(x) + 3.0), MALA(0.1), 50, betas)
    torch.testing.assert_close(run.samples.logw, torch.full((50,), 3.0).double(), atol=1e-12, rtol=0)
    assert run.betas[0] == 0
    assert run.betas[-1] == 1


def test_the_mean_weight_is_unbiased_and_the_error_is_that_of_repetitions() -> None:
    """64 runs of 60 particles that are resampled: mean of Z and its spread; a spread of 64 has 9 % of error."""
    kernels = [MALA(0.1)] * 8
    runs = [
        smc(Gaussian(), shifted(0.0), kernels, 60, GRID, threshold=0.9, generator=step_generator(i)) for i in range(64)
    ]
    z = torch.tensor([math.exp(run.log_z()[0]) for run in runs], dtype=torch.float64)
    error = torch.tensor([run.log_z()[1] for run in runs], dtype=torch.float64).square().mean().sqrt()
    assert float(z.mean()) == pytest.approx(1, abs=5 * float(z.std()) / 8)
    assert 0.7 < float(error) / float(z.std()) < 1.6


def test_a_double_well_of_both_sides_from_a_wide_normal() -> None:
    """The constant by quadrature; wells 9.9 kT apart; adaptive increments, then a second run on them."""
    target, prior = DoubleWell(), Gaussian(s=2.0)
    pilot = smc(prior, target, HMC(0.1, leapfrogs=4), 1000, 0.8, acceptance=0.7, generator=step_generator(2))
    run = smc(prior, target, pilot.kernels, 4000, pilot.betas, generator=step_generator(3))
    assert 0.5 < float(run.acceptance[-1]) < 0.85  # it began at 0.99 and had five stages to come down
    estimate, error = run.log_z()
    assert estimate == pytest.approx(target.log_z, abs=5 * error)
    right = (run.samples.x[:, 0] > 0).double()
    exact = (target.sample(200_000, step_generator(4))[:, 0] > 0).double().mean()
    assert float(run.samples.mean(right)) == pytest.approx(float(exact), abs=5 * math.sqrt(0.13 / (4000 * run.ess())))


def test_annealing_raises_the_effective_size_of_importance_sampling() -> None:
    far = LogDensity(Gaussian(4, 0.5, 1.5).log_prob)
    one = ais(Gaussian(4), far, MALA(0.1), 2000, torch.tensor([0.0, 1.0]), generator=step_generator(5))
    many = ais(Gaussian(4), far, MALA(0.1), 2000, torch.linspace(0, 1, 33), generator=step_generator(5))
    assert many.ess() > 5 * one.ess()


def test_a_path_depends_on_its_own_generator() -> None:
    run = ais(Gaussian(), shifted(), HMC(0.3), 7, GRID, generator=sample_generators(0, 0, 7))
    chunked = ais(Gaussian(), shifted(), HMC(0.3), 7, GRID, generator=sample_generators(0, 0, 7), batch_size=3)
    alone = ais(Gaussian(), shifted(), HMC(0.3), 1, GRID, generator=sample_generators(0, 5, 1))
    torch.testing.assert_close(run.samples.logw, chunked.samples.logw)
    torch.testing.assert_close(run.samples.x[5:6], alone.samples.x)
    torch.testing.assert_close(run.samples.logw[5:6], alone.samples.logw)


def test_the_weight_is_that_of_the_path() -> None:
    run = smc(Gaussian(), shifted(), MALA(0.1), 100, threshold=0.9, generator=step_generator(6))
    torch.testing.assert_close(run.samples.logw, -shifted().energy(run.samples.x) - run.samples.logq)


def test_a_prior_is_a_proposal_and_walls_are_passed() -> None:
    """Half of the plane: log Z = log ½, with half of the prior's samples outside."""
    half = LogDensity(lambda x: torch.where(x[:, 0] > 0, Gaussian().log_prob(x), -torch.inf))
    run = smc(Euclidean(2).prior(), half, MALA(0.2), 4000, 0.5, generator=step_generator(7))
    estimate, error = run.log_z()
    assert estimate == pytest.approx(math.log(0.5), abs=5 * error)


@dataclass
class Folded(Gaussian):
    """A flow whose draws beyond the border x₁ = 0 of its chart are folded back, where they have log q = +∞."""

    def sample(self, n: int, generator=None) -> tuple[Tensor, Tensor]:
        x, logq = super().sample(n, generator)
        beyond = x[:, 0] < 0
        x = torch.where(beyond[:, None], x * torch.tensor([-1.0, 1.0]), x)
        return x, torch.where(beyond, torch.inf, logq)


@pytest.mark.parametrize("anneal", [ais, smc])
def test_draws_beyond_the_chart_of_a_flow_have_no_weight(anneal) -> None:
    half = LogDensity(lambda x: torch.where(x[:, 0] > 0, Gaussian(mean=0.7).log_prob(x), -torch.inf))
    run = anneal(Folded(), half, MALA(0.2), 4000, GRID, generator=step_generator(8))
    estimate, error = run.log_z()
    assert error < 0.05
    assert estimate == pytest.approx(math.log(0.5 * math.erfc(-0.7 / math.sqrt(2))), abs=5 * error)


@pytest.mark.parametrize(
    "betas", [torch.tensor([0.0, 0.5]), torch.tensor([0.1, 1.0]), torch.tensor([0, 0.5, 0.5, 1.0]), 1.0]
)
def test_increments_that_do_not_sum_to_one_are_refused(betas: Tensor | float) -> None:
    with pytest.raises(InputError, match="betas"):
        smc(Gaussian(), shifted(), ULA(0.1), 10, betas)


def test_a_proposal_that_misses_is_refused() -> None:
    nowhere = LogDensity(lambda x: torch.full_like(x[:, 0], -torch.inf))
    with pytest.raises(InputError, match="none of 10 samples"):
        smc(Gaussian(), nowhere, ULA(0.1), 10)


@pytest.mark.parametrize(("betas", "acceptance"), [(0.9, None), (GRID[:3] / GRID[2], None), (GRID, 0.6)])
def test_several_kernels_belong_to_given_increments(betas: Tensor | float, acceptance: float | None) -> None:
    with pytest.raises(ValueError, match="8 kernels"):
        smc(Gaussian(), shifted(), [MALA(0.1)] * 8, 5, betas, acceptance=acceptance)


def test_kernels_with_and_without_forces_do_not_mix() -> None:
    with pytest.raises(ValueError, match="with and without forces"):
        ais(Gaussian(), shifted(), [Metropolis(0.1), *[MALA(0.1)] * 7], 5, GRID)


def test_a_kernel_without_rejections_is_not_adapted() -> None:
    with pytest.raises(ValueError, match="ULA accepts every move"):
        smc(Gaussian(), shifted(), ULA(0.1), 5, acceptance=0.6)


def test_what_cannot_be_annealed_says_so() -> None:
    with pytest.raises(ValueError, match="n=0 samples"):
        smc(Gaussian(), shifted(), MALA(0.1), 0)
    with pytest.raises(ValueError, match=r"<lambda> has no method energy.*LogDensity"):
        smc(Gaussian(), lambda x: x.square().sum(-1), MALA(0.1), 5)


def test_one_sample_has_no_error() -> None:
    run = smc(Gaussian(), shifted(), MALA(0.1), 1, GRID, generator=step_generator(9))
    assert math.isnan(run.log_z()[1])
    assert math.isnan(one_sided(-run.samples.logw).error)


def test_resampling_needs_one_generator() -> None:
    with pytest.raises(ValueError, match="one generator"):
        smc(Gaussian(), shifted(), MALA(0.1), 5, threshold=1.0, generator=sample_generators(0, 0, 5))
