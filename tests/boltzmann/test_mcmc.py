"""Markov chains with flows: the target stays, from anywhere it is reached, and draws are worth what they say."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sciflow.boltzmann.kernels import HMC, MALA, ULA, Kernel, Metropolis
from sciflow.boltzmann.mcmc import (
    ISIR,
    IndependentMH,
    LocalGlobal,
    NeuTra,
    Pulled,
    Transition,
    autocorrelation_time,
    markov_chain,
)
from sciflow.boltzmann.potentials import LogDensity
from sciflow.boltzmann.targets import DoubleWell
from sciflow.flows import MixedBase, NormalizingFlow, spline_couplings
from sciflow.rng import normal, sample_generators, step_generator

N = 20_000
TARGET = DoubleWell(a=-0.5, b=-2.0, c=0.5)  # both wells within reach of the flow, 2 kT apart from the barrier


class Wide:
    """N(0, 2²) × N(0, 1): a proposal that covers both wells."""

    scale = torch.tensor([2.0, 1.0], dtype=torch.float64)

    def sample(self, n: int, generator=None) -> tuple[Tensor, Tensor]:
        x = self.scale * normal(n, 2, generator=generator, dtype=torch.float64)
        return x, self.log_prob(x)

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.distributions.Normal(torch.zeros(2).double(), self.scale).log_prob(x).sum(-1)


def bent_flow() -> NormalizingFlow:
    """Untrained, and not the identity."""
    flow = NormalizingFlow(
        MixedBase(torch.zeros(2, dtype=torch.bool)), spline_couplings(torch.zeros(2) > 0, 2, 8, 4, bound=4.0)
    )
    flow.double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.15 * normal(*parameter.shape, generator=step_generator(0), dtype=torch.float64)
    return flow.requires_grad_(False)


TRANSITIONS: dict[str, Transition] = {
    "independent": IndependentMH(Wide()),
    "i-SIR": ISIR(Wide(), 4),
    "i-SIR, Barker": ISIR(Wide(), 1),
    "NeuTra, MALA": NeuTra(bent_flow(), MALA(0.3), moves=3),
    "NeuTra, HMC": NeuTra(bent_flow(), HMC(0.5, leapfrogs=4)),
    "local–global": LocalGlobal(MALA(0.05), IndependentMH(Wide()), 3),
    "local–global, i-SIR": LocalGlobal(HMC(0.2, leapfrogs=3), ISIR(Wide(), 3), 1),
}
REVERSIBLE = [name for name in TRANSITIONS if "local" not in name]


def moments(x: Tensor) -> Tensor:
    """Functions whose means are compared: of each sample (n, 6)."""
    return torch.stack((x[:, 0], x[:, 0] ** 2, x[:, 0] ** 4, (x[:, 0] > 0).double(), x[:, 1], x[:, 1] ** 2), -1)


def assert_target(x: Tensor) -> None:
    """Means of n independent draws, against those of exact draws of ten times as many, within five errors."""
    exact = moments(TARGET.sample(10 * N, step_generator(99)))
    error = exact.std(0) * math.sqrt(1 / len(x) + 1 / len(exact))
    assert ((moments(x).mean(0) - exact.mean(0)).abs() < 5 * error).all()


@pytest.mark.parametrize("name", TRANSITIONS)
def test_the_target_is_invariant(name: str) -> None:
    x = TARGET.sample(N, step_generator(1))
    move = TRANSITIONS[name].step(x, TARGET, step_generator(2))
    assert 0.05 < float(move.accepted.mean()) < 0.99
    assert_target(move.x)
    torch.testing.assert_close(move.energy, TARGET.energy(move.x))


@pytest.mark.parametrize("name", TRANSITIONS)
def test_from_elsewhere_the_target_is_reached(name: str) -> None:
    """Both wells from one point of the barrier, in 60 transitions of 500 chains."""
    x = torch.tensor([0.0, 2.0], dtype=torch.float64).expand(500, 2)
    assert_target(markov_chain(TRANSITIONS[name], x, TARGET, 1, burn_in=60, generator=step_generator(3)).x[-1])


@pytest.mark.parametrize("name", REVERSIBLE)
def test_detailed_balance_between_boxes(name: str) -> None:
    """As much goes from box to box as comes back: χ² of the antisymmetric flux over pairs of 12 boxes."""

    def box(x: Tensor) -> Tensor:
        return 2 * torch.bucketize(x[:, 0].contiguous(), torch.linspace(-2, 2, 5).double()) + (x[:, 1] > 0.3)

    x, boxes = TARGET.sample(4 * N, step_generator(4)), 12
    y = TRANSITIONS[name].step(x, TARGET, step_generator(5)).x
    flux = torch.bincount(boxes * box(x) + box(y), minlength=boxes**2).double().reshape(boxes, boxes)
    both = torch.triu(flux + flux.T, 1)
    seen = both > 20
    z = ((((flux - flux.T) ** 2)[seen] / both[seen]).sum() - seen.sum()) / math.sqrt(2 * int(seen.sum()))
    assert int(seen.sum()) > 10
    assert float(z) < 5


def test_a_perfect_flow_is_always_accepted() -> None:
    wide = LogDensity(lambda x: Wide().log_prob(x) + 7.0)
    x, _ = Wide().sample(200, step_generator(6))
    move = IndependentMH(Wide()).step(x, wide, step_generator(7))
    assert move.accepted.all()
    # of itself and k fresh draws of the same weight, one is another k times in k+1
    accepted = ISIR(Wide(), 4).step(x.repeat(50, 1), wide, step_generator(8)).accepted
    assert float(accepted.mean()) == pytest.approx(0.8, abs=5 * 0.4 / 100)


def test_chains_leave_where_nothing_is() -> None:
    half = LogDensity(lambda x: torch.where(x[:, 0] > 0, Wide().log_prob(x), -torch.inf))
    outside = torch.full((100, 2), -1.0, dtype=torch.float64)
    for transition in (IndependentMH(Wide()), ISIR(Wide(), 3)):
        assert (markov_chain(transition, outside, half, 1, burn_in=30, generator=step_generator(9)).x > 0)[..., 0].all()


def test_the_pulled_back_energy_has_its_force() -> None:
    flow, z = bent_flow(), normal(5, 2, generator=step_generator(10), dtype=torch.float64)
    pulled = Pulled(flow, TARGET)
    energy, force = pulled.energy_and_force(z)
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(pulled.energy(z).sum(), z)
    torch.testing.assert_close(force, -gradient)
    torch.testing.assert_close(energy, pulled.energy(z).detach())
    # the flow's own density, pulled back, is the base
    own = Pulled(flow, LogDensity(flow.log_prob))
    torch.testing.assert_close(own.energy(z), -flow.base.log_prob(z))


@pytest.mark.parametrize("name", ["independent", "i-SIR", "NeuTra, MALA", "local–global"])
def test_a_chain_depends_on_its_own_generator(name: str) -> None:
    x = TARGET.sample(5, step_generator(11))
    together = markov_chain(TRANSITIONS[name], x, TARGET, 4, thin=2, generator=sample_generators(0, 0, 5))
    alone = markov_chain(TRANSITIONS[name], x[3:4], TARGET, 4, thin=2, generator=sample_generators(0, 3, 1))
    torch.testing.assert_close(together.x[:, 3:4], alone.x)
    assert together.x.shape == (4, 5, 2)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_chain_keeps_its_dtype(name: str) -> None:
    """Whatever that of the flow, here float64."""
    x = TARGET.sample(50, step_generator(15)).float()
    move = TRANSITIONS[name].step(x, TARGET, step_generator(16))
    assert move.x.dtype == x.dtype
    assert (move.x != x).any()


def test_jumps_are_what_makes_local_moves_forget() -> None:
    x = TARGET.sample(100, step_generator(12))
    far = DoubleWell()  # wells 9.9 kT apart
    local = markov_chain(Metropolis(0.3), x, far, 100, generator=step_generator(13))
    both = markov_chain(
        LocalGlobal(Metropolis(0.3), IndependentMH(Wide()), 1), x, far, 100, generator=step_generator(13)
    )
    assert autocorrelation_time(both.x[..., 0]) < autocorrelation_time(local.x[..., 0]) / 3


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_autocorrelation_time_of_an_autoregression(rho: float) -> None:
    """τ = (1 + ρ)/(1 − ρ); Sokal's relative error √(2(2W+1)/n) with W = 5τ."""
    draws, chains = 2000, 50
    f = [normal(chains, generator=(generator := step_generator(14)), dtype=torch.float64)]
    for _ in range(draws - 1):
        f.append(rho * f[-1] + math.sqrt(1 - rho**2) * normal(chains, generator=generator, dtype=torch.float64))
    tau = (1 + rho) / (1 - rho)
    error = math.sqrt(2 * (10 * tau + 1) / (draws * chains))
    assert autocorrelation_time(torch.stack(f)) == pytest.approx(tau, rel=5 * error + 0.01)  # 1 %: what the window cuts


@pytest.mark.parametrize(
    "transition", [lambda k: k, lambda k: NeuTra(bent_flow(), k), lambda k: LocalGlobal(k, ISIR(Wide()))]
)
def test_a_kernel_with_an_error_is_no_chain(transition: Callable[[Kernel], Transition]) -> None:
    with pytest.raises(ValueError, match="use MALA"):
        markov_chain(transition(ULA(0.1)), torch.zeros(1, 2), TARGET, 1)
