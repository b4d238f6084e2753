"""Losses of a flow most of whose samples have no weight: an untrained flow of a molecule, half of it mirrored."""

import math

import pytest
import torch
from torch import Tensor

from sciflow.boltzmann.losses import (
    AlphaTwo,
    Loss,
    ReverseKL,
    SelfImprovement,
    TemperatureAnnealing,
    TrustRegion,
)
from sciflow.boltzmann.losses.softening import softened
from sciflow.boltzmann.losses.trust_region import constrained_weights
from sciflow.errors import InputError
from sciflow.flows import MixedBase, NormalizingFlow, spline_couplings
from sciflow.rng import normal, step_generator


class Walled:
    """Left of a wall, a normal law of variance 1/stiffness."""

    def __init__(self, wall: float, stiffness: float = 1.0) -> None:
        self.wall, self.stiffness = wall, stiffness

    def energy(self, x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > self.wall, torch.inf, self.stiffness * x.square().sum(-1) / 2)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.energy(x), torch.where(x[:, :1] > self.wall, 0.0, -self.stiffness * x)


def flow() -> NormalizingFlow:
    numbers = torch.zeros(2, dtype=torch.bool)
    return NormalizingFlow(MixedBase(numbers), spline_couplings(numbers, 2, 8, 4, bound=5.0, depth=1))


def started(loss: Loss, wall: float) -> tuple[Tensor, list[Tensor]]:
    """The loss of a batch of 64 and its gradient; the wall leaves 7 % of the samples at −1.5, none at −9."""
    loss.progress = 0.0
    made = flow()
    value = loss(made, Walled(wall, 2.0), {"x": normal(64, 2, generator=step_generator(0))}, step_generator(1))
    return value, list(torch.autograd.grad(value.mean(), list(made.parameters())))


@pytest.mark.parametrize(
    "loss",
    [
        ReverseKL(),
        ReverseKL(path_gradient=False),
        AlphaTwo(),
        SelfImprovement(start=0.0),
        TemperatureAnnealing(samples=200),
        TrustRegion(samples=200),
    ],
    ids=str,
)
def test_few_samples_inside_the_target_teach(loss: Loss) -> None:
    value, gradient = started(loss, wall=-1.5)
    assert value.isfinite().all()
    assert all(g.isfinite().all() for g in gradient)
    assert max(float(g.abs().max()) for g in gradient) > 1e-3


@pytest.mark.parametrize("loss", [ReverseKL(), SelfImprovement(start=0.0), TemperatureAnnealing()], ids=str)
def test_no_sample_inside_the_target_breaks_nothing(loss: Loss) -> None:
    value, gradient = started(loss, wall=-9.0)
    assert value.isfinite().all()
    assert all(g.isfinite().all() for g in gradient)


@pytest.mark.parametrize("loss", [TrustRegion(samples=50), TemperatureAnnealing(melt=1e-9, samples=50)], ids=str)
def test_samples_to_learn_from_must_have_some_weight(loss: Loss) -> None:
    loss.progress = 0.5
    with pytest.raises(InputError, match="none of 50 samples"):
        loss(flow(), Walled(-9.0), {"x": torch.zeros(8, 2)}, step_generator(1))


def test_the_median_is_that_of_finite_energies() -> None:
    energy = torch.tensor([0.0, 2.0, 20.0, math.inf, math.inf, math.inf, math.inf], dtype=torch.float64)
    value, slope = softened(energy, cut=10.0)
    finite, slopes = softened(energy[:3], cut=10.0)
    torch.testing.assert_close(value, torch.cat((finite, energy[3:])))
    torch.testing.assert_close(slope, torch.cat((slopes, torch.zeros(4, dtype=torch.float64))))


def test_self_improvement_forgets_a_batch_without_weight() -> None:
    loss = SelfImprovement(start=0.0)
    batch = {"x": normal(64, 2, generator=step_generator(0))}
    loss(flow(), Walled(-9.0), batch, step_generator(1))
    loss(flow(), Walled(9.0), batch, step_generator(2))
    assert loss.log_z is not None
    # an untrained flow is the normal law itself: Z = 2π
    torch.testing.assert_close(loss.log_z, torch.tensor(math.log(2 * math.pi)), atol=1e-4, rtol=0)
    loss(flow(), Walled(-9.0), batch, step_generator(3))
    torch.testing.assert_close(loss.log_z, torch.tensor(math.log(2 * math.pi)), atol=1e-4, rtol=0)


def test_self_improvement_needs_a_datum_and_a_sample() -> None:
    with pytest.raises(InputError, match="batch_size"):
        SelfImprovement(start=0.0)(flow(), Walled(9.0), {"x": torch.zeros(1, 2)}, step_generator(1))


def test_draws_beyond_the_chart_of_a_flow_do_not_steer_a_trust_region() -> None:
    """Their log q is +∞, they have no weight; the others are weighted as without them."""
    logq = normal(400, generator=step_generator(0), dtype=torch.float64)
    energy = 3 * normal(400, generator=step_generator(1), dtype=torch.float64)
    known = constrained_weights(energy, logq, kl=0.2, entropy=0.2).softmax(0)
    beyond = torch.full((4,), torch.inf, dtype=torch.float64)
    energies, densities = torch.cat((energy, torch.zeros(4))), torch.cat((logq, beyond))
    found = constrained_weights(energies, densities, kl=0.2, entropy=0.2)
    assert (found[400:] == -torch.inf).all()
    torch.testing.assert_close(found[:400].softmax(0), known, atol=2e-3, rtol=0.2)  # KL counts 1 % more samples
