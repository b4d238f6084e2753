"""Smooth bumps: every derivative continuous, slopes bounded, roots to rounding, derivatives through the root."""

import math
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from sciflow.flows import (
    Composed,
    MixedBase,
    NormalizingFlow,
    SmoothBump,
    SmoothCoupling,
    SplineCoupling,
    Whiten,
    smooth_couplings,
)
from sciflow.flows.coupling import Coupling
from sciflow.manifolds import wrap
from sciflow.rng import step_generator

CIRCULAR = torch.tensor([True, False])
GENERATOR = step_generator(0)
M = TypeVar("M", bound=nn.Module)


def parameters(scale: float, bins: int, n: int) -> Tensor:
    """Raw parameters (3, K, 4, n) of two circles and two intervals."""
    return scale * torch.randn(3, bins, 4, n, generator=GENERATOR, dtype=torch.float64)


def bumps(raw: Tensor) -> SmoothBump:
    return SmoothBump(*raw, 2, SmoothBump.amplitude_of(raw.shape[1], 2, 2).double())


def perturb(module: M, scale: float) -> M:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=GENERATOR, dtype=torch.float64)
    return module


def coupling(kind: type[Coupling], moved: int) -> Coupling:
    """A layer on circle × line that moves one of them, perturbed."""
    layer = kind(CIRCULAR, torch.arange(2) == moved, bins=6, bound=3.0, width=8, depth=1, generator=GENERATOR).double()
    return perturb(layer, 0.3)


def derivatives(f: Callable[[Tensor], Tensor], x: Tensor, order: int = 3) -> list[Tensor]:
    """f, f′, … of a map that acts on each entry of x alone."""
    x = x.detach().requires_grad_()
    found = [f(x)]
    for _ in range(order):
        found.append(torch.autograd.grad(found[-1].sum(), x, create_graph=True)[0])
    return [value.detach() for value in found]


def layer_derivatives(layer: Coupling, moved: int, s: Tensor) -> list[Tensor]:
    """Of the moved dimension as a function of itself, the other held, and of ladj."""

    def along(s: Tensor) -> Tensor:
        return torch.stack((s, torch.full_like(s, 0.7)) if moved == 0 else (torch.full_like(s, 0.7), s), -1)

    y, *rest = derivatives(lambda s: layer(along(s))[:, moved], s)
    return [wrap(y - s) if moved == 0 else y - s, *rest]


@pytest.mark.parametrize("moved", [0, 1], ids=["circle", "line"])
def test_three_derivatives_are_continuous_and_those_of_a_spline_are_not(moved: int) -> None:
    """∫f‴ over each short interval is the change of f″, whatever knots, seams and edges lie in it."""
    s = torch.linspace(-4, 4, 3001, dtype=torch.float64)  # round the circle and past ±π; past the box at ±3
    gaps = {}
    for kind in (SmoothCoupling, SplineCoupling):
        _, _, second, third = layer_derivatives(coupling(kind, moved), moved, s)
        gaps[kind] = (second.diff() - (third[1:] + third[:-1]) / 2 * s.diff()).abs().max()
    assert gaps[SmoothCoupling] < 1e-3
    assert gaps[SplineCoupling] > 0.5


def test_seam_and_edges_join_with_three_derivatives() -> None:
    near = torch.tensor([-1e-9, 1e-9], dtype=torch.float64)
    circle, line = coupling(SmoothCoupling, 0), coupling(SmoothCoupling, 1)
    for place in (math.pi, math.pi - float(circle.shift)):  # of the angle, and of the layer's own
        for before, after in layer_derivatives(circle, 0, wrap(place + near)):
            assert abs(before - after) < 1e-5  # ten times 2e-9 f⁗
    for edge in (-3.0, 3.0):
        for order, values in enumerate(layer_derivatives(line, 1, edge + near)):
            torch.testing.assert_close(values, torch.full_like(values, order == 1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_slope_is_bounded_below_and_roots_are_found_to_rounding(scale: float) -> None:
    m = bumps(parameters(scale, 9, 500))
    y = torch.rand(4, 500, generator=GENERATOR, dtype=torch.float64)
    x, ladj = m.inverse_and_ladj(y)
    back, forward = m.call_and_ladj(x)
    assert (forward > math.log(0.0099)).all()
    torch.testing.assert_close(back, y, atol=1e-14, rtol=0)  # the unit interval: some roundings of one
    torch.testing.assert_close(ladj, -forward, atol=0, rtol=0)
    assert ((x[2:] >= -1e-12) & (x[2:] <= 1 + 1e-12)).all()


def test_zero_parameters_are_the_identity() -> None:
    x = torch.rand(4, 50, generator=GENERATOR, dtype=torch.float64)
    y, ladj = bumps(torch.zeros(3, 7, 4, 50, dtype=torch.float64)).call_and_ladj(x)
    torch.testing.assert_close((y, ladj), (x, torch.zeros_like(x)), atol=1e-13, rtol=0)


def test_float32_finds_its_roots_and_has_finite_gradients() -> None:
    raw = parameters(20.0, 8, 100).float().requires_grad_()
    m = SmoothBump(*raw, 2, SmoothBump.amplitude_of(8, 2, 2))
    y = torch.rand(4, 100, generator=GENERATOR)
    x, ladj = m.inverse_and_ladj(y)
    torch.testing.assert_close(m.call_and_ladj(x)[0], y, atol=1e-5, rtol=0)
    assert torch.autograd.grad(x.sum() + ladj.sum(), raw)[0].isfinite().all()


def test_derivatives_of_the_inverse_follow_from_those_of_the_map() -> None:
    """x′ = 1/f′, x″ = −f″/f′³, x‴ = (3f″² − f′f‴)/f′⁵, and ladj = log x′."""
    m = bumps(parameters(1.0, 5, 20))
    x0 = torch.rand(4, 20, generator=GENERATOR, dtype=torch.float64)
    y, f1, f2, f3 = derivatives(lambda x: m.call_and_ladj(x)[0], x0)
    x, x1, x2, x3 = derivatives(lambda y: m.inverse_and_ladj(y)[0], y)
    ladj, ladj1, ladj2 = derivatives(lambda y: m.inverse_and_ladj(y)[1], y, 2)
    for got, want in [
        (x, x0),
        (x1, 1 / f1),
        (x2, -f2 / f1**3),
        (x3, (3 * f2**2 - f1 * f3) / f1**5),
        (ladj, -f1.log()),
        (ladj1, x2 / x1),
        (ladj2, x3 / x1 - (x2 / x1) ** 2),
    ]:
        torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)  # slopes down to 0.02, to the fifth power


def test_gradients_by_parameters_pass_the_root() -> None:
    raw = parameters(1.0, 3, 2).requires_grad_()
    y = torch.rand(4, 2, generator=GENERATOR, dtype=torch.float64).requires_grad_()

    def inverse(raw: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return bumps(raw).inverse_and_ladj(y)

    assert torch.autograd.gradcheck(inverse, (raw, y), fast_mode=True)
    assert torch.autograd.gradgradcheck(inverse, (raw, y), fast_mode=True)


def test_density_integrates_to_one() -> None:
    whiten = Whiten.fit(torch.randn(50, 2, generator=step_generator(0), dtype=torch.float64) * 1.5 + 0.7, CIRCULAR)
    stack = smooth_couplings(CIRCULAR, 4, 16, 6, bound=4.0, depth=1)
    flow = perturb(NormalizingFlow(MixedBase(CIRCULAR), Composed(whiten, stack)).double(), 0.1)
    line = torch.linspace(-15, 15, 601, dtype=torch.float64)
    angle = torch.linspace(-math.pi, math.pi, 121, dtype=torch.float64)[1:]
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(angle, line)).exp()
    total = density.sum() * (line[1] - line[0]) * 2 * math.pi / 120
    assert total.item() == pytest.approx(1, abs=1e-6)  # smooth: the trapezoid rule beats every power of its step
