"""Flows on manifolds with a boundary: densities that integrate to one, walls that hold, mass pressed against them."""

import math

import numpy as np
import pytest
import torch

from sciflow.manifolds import Ball, Box, Dirichlet, Euclidean, FlatSimplex, Simplex
from sciflow.nets import FunctionField, MLPField
from sciflow.objectives import FlowMatching
from sciflow.paths import GeodesicPath, Pair
from sciflow.rng import normal, step_generator, uniform
from sciflow.sampling import RK4, Dopri5, Euler, Midpoint, log_prob, sample

F64 = torch.float64


def wave(features, out, t):
    """A smooth random function of place and time."""
    weight = normal(features.shape[-1], out, generator=step_generator(11), dtype=F64)
    return torch.sin(features @ weight + 1 + t[:, None]) + 0.5


def on_simplex(manifold):
    """``dp_i = p_i (g_i − Σ p_j g_j)``, the replicator equation, for either metric."""

    def velocity(p, t):
        g = wave(p, manifold.k, t)
        rate = g - (p * g).sum(-1, keepdim=True)
        return manifold.coordinates(p) * rate if isinstance(manifold, Simplex) else p * rate

    return velocity


def in_box(box):
    low, high = torch.tensor(box.low, dtype=F64), torch.tensor(box.high, dtype=F64)
    return lambda x, t: (x - low) * (high - x) * wave(x, box.dim, t)


def in_disc(x, t):
    """Round and round at the wall, anything inside."""
    turned = torch.stack([-x[:, 1], x[:, 0]], -1)
    return turned * (2 + wave(x, 1, t)) + 0.4 * (1 - x.square().sum(-1, keepdim=True)) * wave(x, 2, t)


def gauss(n, end):
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return torch.tensor((nodes + 1) / 2 * end), torch.tensor(weights / 2 * end)


def square(n, a_end, b_end):
    (a, wa), (b, wb) = gauss(n, a_end), gauss(n, b_end)
    return *torch.meshgrid(a, b, indexing="ij"), wa[:, None] * wb


def quadrature(manifold, n=48):
    """Points and weights of the Riemannian volume, from its definition on each manifold."""
    if isinstance(manifold, Simplex):  # the octant of the sphere of radius 2
        theta, phi, w = square(n, math.pi / 2, math.pi / 2)
        s = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1)
        x, w = s.square(), 4 * theta.sin() * w
    elif isinstance(manifold, FlatSimplex):
        a, b, w = square(n, 1, 1)
        x, w = torch.stack([a, (1 - a) * b, (1 - a) * (1 - b)], -1), math.sqrt(3) * (1 - a) * w
    elif isinstance(manifold, Ball):
        r, phi, w = square(n, 1, 2 * math.pi)
        x, w = r[..., None] * torch.stack([phi.cos(), phi.sin()], -1), r * w
    else:
        a, b, w = square(n, 1, 1)
        low, high = torch.tensor(manifold.low, dtype=F64), torch.tensor(manifold.high, dtype=F64)
        x, w = low + (high - low) * torch.stack([a, b], -1), (high - low).prod() * w
    return x.reshape(n * n, -1), w.flatten()


FIELDS = {
    "fisher-rao": (Simplex(3), on_simplex(Simplex(3))),
    "flat simplex": (FlatSimplex(3), on_simplex(FlatSimplex(3))),
    "box": (Box((-1.0, 0.0), (1.0, 3.0)), in_box(Box((-1.0, 0.0), (1.0, 3.0)))),
    "disc": (Ball(2), in_disc),
}


@pytest.fixture(params=FIELDS)
def flow(request):
    """A field that is tangent to the walls."""
    manifold, velocity = FIELDS[request.param]
    return FunctionField(manifold, velocity)


def grid(n, start=0.0, end=1.0):
    return torch.linspace(start, end, n + 1, dtype=F64)


@pytest.mark.parametrize("step", [Midpoint(), RK4()])
def test_likelihoods_integrate_to_one(flow, step):
    x, weight = quadrature(flow.manifold)
    density = log_prob(flow, x, flow.manifold.prior(), step=step, grid=grid(16, 1.0, 0.0)).exp()
    assert density.max() > 1.2 * density.min()
    total = float((density * weight).sum())
    assert total == pytest.approx(1, abs=2e-5 if step == RK4() else 1e-2)  # errors of steps and quadrature


def test_dirichlet_flows_integrate_to_one():
    """The prior's density and the field's divergence are on the same volume."""
    field, (x, weight) = FunctionField(*FIELDS["fisher-rao"]), quadrature(Simplex(3))
    prior = Dirichlet((2.0, 3.5, 1.5))
    assert float(prior.log_prob(x).exp() @ weight) == pytest.approx(1, abs=1e-8)
    density = log_prob(field, x, prior, step=RK4(), grid=grid(16, 1.0, 0.0)).exp()
    assert float(density @ weight) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("step", "order", "n"), [(Euler(), 1, 64), (Midpoint(), 2, 32), (RK4(), 4, 16)])
def test_order(flow, step, order, n):
    """Fields that are tangent to the walls are followed to the full order."""
    x0 = flow.manifold.random(5, generator=step_generator(0), dtype=F64)
    exact = sample(flow, x0, grid(1), Dopri5(1e-12, 1e-12)).x
    errors = [float(flow.manifold.dist(sample(flow, x0, grid(k), step).x, exact).max()) for k in (n, 2 * n)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("step", [Euler(), Midpoint(), RK4(), Dopri5()])
@pytest.mark.parametrize("name", FIELDS)
def test_no_step_leaves(name, step):
    """A field that presses outwards everywhere: points stay, those at rest at the wall too."""
    manifold = FIELDS[name][0]
    x0 = manifold.random(50, generator=step_generator(0), dtype=F64)
    push = normal(*manifold.point_shape, generator=step_generator(2), dtype=F64)
    field = FunctionField(manifold, lambda x, t: manifold.proju(x, 3 * push + 0 * x))
    x = sample(field, x0, grid(7), step).x
    assert (manifold.projx(x) - x).abs().max() < 1e-14
    assert x.isfinite().all()


@pytest.mark.parametrize(("step", "strides"), [(Euler(), 1), (Midpoint(), 2), (RK4(), 0), (Dopri5(), 0)])
def test_trajectories_are_those_of_skorokhod(step, strides):
    """Pressed against a wall at constant velocity: along it, and not further from it than a stride or two."""
    box, n = Box((0.0, 0.0), (1.0, 1.0)), 64
    velocity = torch.tensor([1.5, -0.25], dtype=F64)
    x0 = box.random(50, generator=step_generator(0), dtype=F64)
    exact = (x0 + velocity).clamp(0, 1)
    x = sample(FunctionField(box, lambda x, t: velocity + 0 * x), x0, grid(n), step).x
    assert (x - exact).abs().max() <= strides * 1.5 / n + 1e-12


def test_mass_pressed_against_the_walls():
    """Exponential in a corner: the learned field leaks through walls unless they hold; means agree with the data."""
    box, n, scale = Box((0.0, 0.0), (1.0, 1.0)), 4000, 0.08

    def data(*shape, generator):
        u = uniform(*shape, 2, generator=generator)
        return -scale * torch.log1p(-u * (1 - math.exp(-1 / scale)))

    torch.manual_seed(0)
    field, path, objective = MLPField(box, width=64, depth=2), GeodesicPath(box), FlowMatching()
    optimizer, ones = torch.optim.Adam(field.parameters(), 3e-3), torch.ones(256)
    for i in range(300):
        g = step_generator(0, i)
        loss = objective(field, path, Pair(box.random(256, generator=g), data(256, generator=g), ones, {}), g).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    x0, times = box.random(n, generator=step_generator(1)), torch.linspace(0, 1, 33)
    reflected = sample(field, x0, times, Midpoint()).x
    projected = sample(field, x0, times, RK4()).x
    free = sample(FunctionField(Euclidean(2), field.velocity), x0, times, Midpoint()).x
    outside = lambda x: float((box.projx(x) != x).any(-1).float().mean())  # noqa: E731
    assert outside(free) > 0.005
    assert outside(reflected) == outside(projected) == 0
    mean = data(100_000, generator=step_generator(2)).mean()
    for x in (reflected, projected):
        assert abs(float(x.mean() / mean) - 1) < 0.15
