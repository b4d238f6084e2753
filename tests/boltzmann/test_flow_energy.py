"""A flow as a potential: simulation in it samples the flow, and a smooth one conserves energy."""

import math
from collections.abc import Callable

import pytest
import torch

from sciflow.boltzmann import MALA, FlowEnergy
from sciflow.flows import Composed, MixedBase, NormalizingFlow, smooth_couplings, spline_couplings
from sciflow.rng import step_generator

CIRCULAR = torch.tensor([True, False])


def flow(couplings: Callable[..., Composed]) -> NormalizingFlow:
    """On circle × line, away from its base."""
    made = NormalizingFlow(MixedBase(CIRCULAR), couplings(CIRCULAR, 2, 16, 6, bound=4.0, depth=1)).double()
    generator = step_generator(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return made


def energy_error(energy: FlowEnergy, step: float) -> float:
    """Root mean square over time of how far velocity Verlet is from its first energy, 100 walkers of unit mass."""
    x = energy.flow.sample(100, generator=step_generator(2))[0].detach()
    v = torch.randn(x.shape, generator=step_generator(3), dtype=x.dtype)
    u, force = energy.energy_and_force(x)
    start, errors = u + v.square().sum(-1) / 2, []
    for _ in range(round(0.5 / step)):
        v = v + step / 2 * force
        x = x + step * v
        u, force = energy.energy_and_force(x)
        v = v + step / 2 * force
        errors.append(u + v.square().sum(-1) / 2 - start)
    return float(torch.stack(errors).square().mean().sqrt())


def test_energy_error_falls_with_the_square_of_the_step_if_the_flow_is_smooth() -> None:
    coarse, fine = 0.02, 0.005
    order = {}
    for couplings in (smooth_couplings, spline_couplings):
        energy = FlowEnergy(flow(couplings))
        order[couplings] = math.log(energy_error(energy, coarse) / energy_error(energy, fine)) / math.log(coarse / fine)
    assert order[smooth_couplings] == pytest.approx(2, abs=0.1)  # the next term is of fourth order
    assert order[spline_couplings] < 1.7  # of first order at each jump of the force


def test_langevin_in_the_energy_of_a_flow_samples_the_flow() -> None:
    energy = FlowEnergy(flow(smooth_couplings))
    x = energy.flow.sample(1000, generator=step_generator(4))[0].detach()
    x[:, 0], x[:, 1] = 0.0, 0.0  # all walkers from one point
    move = MALA(0.15).run(x, energy, 100, step_generator(5))
    z = energy.flow.transform(move.x).detach()
    # The latents of the flow's own samples are uniform on the circle and normal on the line.
    uniform = torch.stack((z[:, 0] / (2 * math.pi) + 0.5, torch.special.ndtr(z[:, 1])))
    sorted_, grid = uniform.sort(-1).values, (torch.arange(1000) + 0.5) / 1000
    assert ((sorted_ - grid).abs().amax(-1) < 1.95 / math.sqrt(1000)).all()  # Kolmogorov and Smirnov at 0.1 %


def test_force_is_the_score_and_temperature_scales_both() -> None:
    energy = FlowEnergy(flow(smooth_couplings), temperature=300.0)
    x = energy.flow.sample(5, generator=step_generator(4))[0].detach().requires_grad_()
    logq = energy.flow.log_prob(x)
    (score,) = torch.autograd.grad(logq.sum(), x)
    for temperature in (300.0, 450.0):
        u, force = energy.at(450.0).at(temperature).energy_and_force(x)
        torch.testing.assert_close(
            (u, force), (-logq * 300 / temperature, score * 300 / temperature), check_stride=False
        )
