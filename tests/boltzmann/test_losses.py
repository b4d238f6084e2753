"""Losses against closed forms: gradients of divergences between Gaussians, zero where flow and target agree."""

import math
from collections.abc import Callable

import pytest
import torch
from gaussians import WIDTH, Gaussian, N, Target, data
from torch import Tensor

from sciflow.boltzmann.losses import (
    AlphaTwo,
    ForceMatching,
    ForwardKL,
    Loss,
    Losses,
    ReverseKL,
    SelfImprovement,
    SubTrajectoryBalance,
    TemperatureAnnealing,
    TrajectoryBalance,
    TrustRegion,
)
from sciflow.boltzmann.losses.softening import softened
from sciflow.errors import InputError
from sciflow.rng import step_generator


def by_energy_alone(name: str, samples: int = N) -> Loss:
    """In its last phase, where it minimises a divergence to the target itself."""
    loss = Losses(
        trust_region=TrustRegion(samples=samples, kl=10.0, entropy=10.0),
        temperature_annealing=TemperatureAnnealing(samples=samples),
        fab=AlphaTwo(capacity=10 * samples, size=0.6),
    ).named(name)
    loss.progress = 0.999
    return loss


def gradient(loss: Loss, flow: Gaussian, x: Tensor) -> Tensor:
    """Of the mean, with respect to mean and log-scale in each dimension, (2, 2)."""
    value = loss(flow, Target(), {"x": x}, step_generator(2)).mean()
    return torch.stack(torch.autograd.grad(value, (flow.mean, flow.log_scale)))


def forward_kl(flow: Gaussian) -> Tensor:
    return (flow.log_scale + (WIDTH**2 + flow.mean.square()) / (2 * (2 * flow.log_scale).exp())).sum()


def reverse_kl(flow: Gaussian) -> Tensor:
    return (((2 * flow.log_scale).exp() + flow.mean.square()) / (2 * WIDTH**2) - flow.log_scale).sum()


def log_second_moment(flow: Gaussian) -> Tensor:
    """log ∫ p²/q: dimension by dimension a Gaussian integral."""
    s2, t2 = (2 * flow.log_scale).exp(), WIDTH**2
    precision = 2 / t2 - 1 / s2
    return (flow.log_scale - precision.log() / 2 + flow.mean.square() / (2 * s2) * (1 + 1 / (s2 * precision))).sum()


def fisher(flow: Gaussian) -> Tensor:
    """Forward KL, and E_p‖∇log q − ∇log p‖² as a fraction of E_p‖∇log p‖² = 2/WIDTH²."""
    s2, t2 = (2 * flow.log_scale).exp(), WIDTH**2
    square = ((1 / t2 - 1 / s2).square() * t2 + (flow.mean / s2).square()).sum()
    return forward_kl(flow) + square * t2 / 2


EXACT: dict[str, Callable[[Gaussian], Tensor]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "force_matching": fisher,
    "fab": log_second_moment,
    "self_improvement": forward_kl,
    "temperature_annealing": forward_kl,
    "trust_region": forward_kl,
}


@pytest.mark.parametrize("name", EXACT)
def test_gradients_are_those_of_the_divergence(name: str) -> None:
    flow = Gaussian(0.5, 1.5)
    exact = torch.stack(torch.autograd.grad(EXACT[name](flow), (flow.mean, flow.log_scale)))
    # single-sample gradients are of order one and a half: five standard errors of their mean
    torch.testing.assert_close(gradient(by_energy_alone(name), flow, data()), exact, atol=8 / math.sqrt(N), rtol=0)


def test_without_path_gradient_the_mean_is_the_same() -> None:
    flow = Gaussian(0.5, 1.5)
    exact = torch.stack(torch.autograd.grad(reverse_kl(flow), (flow.mean, flow.log_scale)))
    found = gradient(ReverseKL(path_gradient=False), flow, data())
    torch.testing.assert_close(found, exact, atol=8 / math.sqrt(N), rtol=0)


@pytest.mark.parametrize("name", ["reverse_kl", "self_improvement"])
def test_where_flow_and_target_agree_every_sample_says_so(name: str) -> None:
    """Zero to rounding from a batch of six, even of data that are not of the target: nothing is left to average."""
    loss, biased = by_energy_alone(name), 3 + data(6)
    assert gradient(loss, Gaussian(), biased).abs().max() < 1e-12
    assert gradient(ForwardKL(), Gaussian(), biased).abs().max() > 0.1
    assert gradient(ReverseKL(path_gradient=False), Gaussian(), biased).abs().max() > 0.01


def test_forces_that_agree_leave_forward_kl() -> None:
    x = data(6)
    torch.testing.assert_close(gradient(ForceMatching(), Gaussian(), x), gradient(ForwardKL(), Gaussian(), x))


def test_forces_that_come_with_the_data_cost_nothing() -> None:
    flow, target, x = Gaussian(0.3), Target(), data(6)
    computed = ForceMatching()(flow, target, {"x": x}, step_generator(0))
    loss = ForceMatching()
    torch.testing.assert_close(loss(flow, None, {"x": x, "force": -x / WIDTH**2}, step_generator(0)), computed)
    assert (target.asked, loss.evaluations) == (6, 0)


@pytest.mark.parametrize("name", EXACT)
def test_energies_are_counted(name: str) -> None:
    target = Target()
    loss = Losses(temperature_annealing=TemperatureAnnealing(samples=50), trust_region=TrustRegion(samples=50)).named(
        name
    )
    for progress in (0.0, 0.5, 0.9, 1.0):
        loss.progress = progress
        loss(Gaussian(), target, {"x": data(12)}, step_generator(3))
    assert loss.evaluations == target.asked
    assert loss.needs_energy == (target.asked > 0)
    if loss.needs_energy:
        with pytest.raises(InputError, match="needs an energy"):
            by_energy_alone(name)(Gaussian(), None, {"x": data(12)}, step_generator(3))


@pytest.mark.parametrize("name", EXACT)
def test_infinite_energies_leave_gradients_finite(name: str) -> None:
    """A third of the samples lies behind a wall, where the energy is not a number."""
    loss, flow = by_energy_alone(name, 200), Gaussian()
    value = loss(flow, Target(wall=0.5), {"x": data(200)}, step_generator(4))
    assert value.shape == (200,)
    for part in torch.autograd.grad(value.mean(), (flow.mean, flow.log_scale)):
        assert part.isfinite().all()


def test_self_improvement_empties_what_is_behind_a_wall() -> None:
    flow = Gaussian()
    loss = by_energy_alone("self_improvement")
    value = loss(flow, Target(wall=0.5), {"x": data(6000)}, step_generator(4)).mean()
    (slope,) = torch.autograd.grad(value, flow.mean)
    assert slope[0] > 0.1  # descent moves the mean away from the wall
    assert abs(slope[1]) < 0.1


def test_softened_energies_grow_as_logarithms() -> None:
    energy = torch.tensor([-5.0, 0.0, 0.0, 10.0, 10.0 * math.e, math.inf], dtype=torch.float64)
    value, slope = softened(energy, cut=10.0)
    torch.testing.assert_close(value, torch.tensor([-5.0, 0, 0, 10, 20, math.inf], dtype=torch.float64))
    torch.testing.assert_close(slope, torch.tensor([1.0, 1, 1, 1, 1 / math.e, 0], dtype=torch.float64))


def test_names_and_settings_that_are_wrong_are_refused() -> None:
    with pytest.raises(InputError, match=r"model\.loss='alpha' is not a loss: use one of forward_kl, reverse_kl"):
        Losses().named("alpha")
    for wrong in (
        lambda: ReverseKL(cut=0),
        lambda: SelfImprovement(start=1.0),
        lambda: TemperatureAnnealing(hot=1.0),
        lambda: TemperatureAnnealing(melt=1.0),
        lambda: TrustRegion(kl=0.0),
        lambda: TrajectoryBalance(explore=-1.0),
        lambda: SubTrajectoryBalance(decay=0.0),
        lambda: SubTrajectoryBalance(explore=-1.0),
    ):
        with pytest.raises(InputError):
            wrong()


def test_a_named_loss_remembers_nothing() -> None:
    losses = Losses()
    first = losses.named("fab")
    first(Gaussian(), Target(), {"x": data(8)}, step_generator(0))
    again = losses.named("fab")
    assert first.evaluations > 0
    assert again.evaluations == 0
