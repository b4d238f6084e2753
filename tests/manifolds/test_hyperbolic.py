"""Hyperbolic space where naive formulas fail: close points, far points and float32; its isometries and the ball."""

import math

import pytest
import torch

from sciflow.manifolds import Hyperbolic, from_poincare, to_poincare
from sciflow.rng import normal, step_generator

F64 = torch.float64
H = Hyperbolic(3)


def ring(radius, dtype, n=500):
    """Points at a distance of the origin."""
    v = normal(n, 3, generator=step_generator(0), dtype=F64)
    v = v / v.norm(dim=-1, keepdim=True)
    return torch.cat([torch.full((n, 1), math.cosh(radius), dtype=F64), math.sinh(radius) * v], -1).to(dtype)


def boost(v):
    """The Lorentz transformation ``(4, 4)`` that brings the origin to ``(√(1 + v²), v)``."""
    gamma = (1 + v @ v).sqrt()
    matrix = torch.eye(4, dtype=v.dtype) + torch.zeros(4, 4, dtype=v.dtype)
    matrix[0, 0], matrix[0, 1:], matrix[1:, 0] = gamma, v, v
    matrix[1:, 1:] += torch.outer(v, v) / (1 + gamma)
    return matrix


@pytest.mark.parametrize(("dtype", "radius"), [(torch.float32, 5.0), (torch.float64, 5.0), (torch.float64, 12.0)])
def test_distances_of_close_points_are_exact(dtype, radius):
    """The points' own rounding, at radius r, is eps·e^r/2: arcosh of the product sees nothing below eps^½ e^r."""
    x = ring(radius, dtype)
    assert (H.dist(x, x) == 0).all()
    for step in (1e-3, 1e-1, 1.0):
        u = H.randn_tangent(x, step_generator(1))
        u = u * (step / H.inner(x, u, u).sqrt())[:, None]
        y = H.expmap(x, u)
        exact = H.dist(H.projx(x.double()), H.projx(y.double()))
        assert (H.dist(x, y) - exact).abs().max() < 8 * torch.finfo(dtype).eps * math.exp(radius) * step + 1e-30
        assert (exact - step).abs().max() < 32 * torch.finfo(dtype).eps * math.exp(radius)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-13)])
def test_opposite_points_are_twice_the_radius_apart(dtype, tolerance):
    x = ring(5.0, dtype)
    y = torch.cat([x[:, :1], -x[:, 1:]], -1)
    assert (H.dist(x, y) - 10).abs().max() < 10 * tolerance
    middle, u = H.geodesic(x, y, torch.full((len(x),), 0.5, dtype=dtype))
    assert H.dist(middle, H.origin().to(dtype)).max() < 1000 * tolerance  # e^{r} roundings away
    assert (H.inner(middle, u, u).sqrt() - 10).abs().max() < 100 * tolerance


@pytest.mark.parametrize(("dtype", "radius"), [(torch.float32, 10.0), (torch.float32, 20.0), (F64, 20.0), (F64, 100.0)])
def test_far_points_keep_finite_and_precise_geodesics(dtype, radius):
    """The middle of far points is near: going there from one of them would lose e^{2r} roundings, and their sum none.

    Points so far have no place to better than eps·e^r, but all stays finite.
    """
    x = ring(radius, dtype)
    opposite, beside = torch.cat([x[:, :1], -x[:, 1:]], -1), x.roll(1, 0)
    t, eps = torch.linspace(0, 1, len(x), dtype=dtype), torch.finfo(dtype).eps
    for y in (opposite, beside, x.clone()):
        ends = [part.requires_grad_() for part in (x, y)]
        x_t, u_t = H.geodesic(*ends, t)
        carried = H.transp(*ends, H.proju(x, torch.ones_like(x)))
        for outcome in (x_t, u_t, H.dist(*ends), H.logmap(*ends), carried):
            assert outcome.isfinite().all()
            assert all(slope.isfinite().all() for slope in torch.autograd.grad(outcome.sum(), ends, retain_graph=True))
    turned = H.geodesic(*(part.double() for part in (x, opposite)), t.double())[0]
    relative = (H.geodesic(x, opposite, t)[0].double() - turned).norm(dim=-1) / turned.norm(dim=-1)
    assert relative.max() < 100 * radius * eps  # of exp(td)


def test_inner_is_the_minkowski_product():
    x = H.random(50, generator=step_generator(0), dtype=F64)
    u, v = (H.randn_tangent(x, step_generator(seed)) for seed in (1, 2))
    minkowski = torch.tensor([-1.0, 1, 1, 1], dtype=F64)
    torch.testing.assert_close((minkowski * u * x).sum(-1), torch.zeros(50, dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(H.inner(x, u, v), (minkowski * u * v).sum(-1), rtol=0, atol=1e-11)


def test_boosts_are_isometries():
    matrix = boost(torch.tensor([0.8, -1.5, 0.4], dtype=F64))
    x, y = (H.random(50, generator=step_generator(seed), dtype=F64) for seed in (0, 1))
    u = H.randn_tangent(x, step_generator(2))
    torch.testing.assert_close(H.dist(x @ matrix, y @ matrix), H.dist(x, y), rtol=0, atol=1e-12)
    for moved, still in (
        (H.expmap(x @ matrix, u @ matrix), H.expmap(x, u)),
        (H.logmap(x @ matrix, y @ matrix), H.logmap(x, y)),
        (H.transp(x @ matrix, y @ matrix, u @ matrix), H.transp(x, y, u)),
    ):
        torch.testing.assert_close(moved, still @ matrix, rtol=1e-11, atol=1e-10)


def test_transport_solves_the_levi_civita_equation():
    """Along a geodesic a parallel field moves along the normal alone: u' = ⟨w, u⟩ x, w the velocity."""
    x = H.random(50, generator=step_generator(0), dtype=F64)
    w, u = (H.randn_tangent(x, step_generator(seed)) for seed in (1, 2))
    s = torch.tensor(0.6, dtype=F64)
    moved, rate = torch.func.jvp(lambda s: H.transp_along(x, s * w, u), (s,), (torch.ones_like(s),))
    y, velocity = H.expmap(x, s * w), H.transp_along(x, s * w, w)
    torch.testing.assert_close(rate, H.inner(y, velocity, moved)[:, None] * y, rtol=1e-11, atol=1e-10)


def test_the_poincare_ball_has_its_own_distance():
    p, q = (0.9 * torch.rand(2, 50, 1, generator=step_generator(5), dtype=F64)).unbind(0)
    directions = normal(2, 50, 3, generator=step_generator(6), dtype=F64)
    p, q = (r * v / v.norm(dim=-1, keepdim=True) for r, v in zip((p, q), directions, strict=True))
    torch.testing.assert_close(to_poincare(from_poincare(p)), p)
    ratio = (p - q).square().sum(-1) / ((1 - p.square().sum(-1)) * (1 - q.square().sum(-1)))
    torch.testing.assert_close(H.dist(from_poincare(p), from_poincare(q)), (1 + 2 * ratio).arccosh())


def test_coordinates_are_normal_at_the_origin():
    x = H.random(50, generator=step_generator(0), dtype=F64)
    torch.testing.assert_close(H.coordinates(x), H.logmap(H.origin(), x)[:, 1:])
    torch.testing.assert_close(H.coordinates(x).norm(dim=-1), H.dist(H.origin(), x))
