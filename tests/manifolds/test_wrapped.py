"""Wrapped normals are normalised densities of their own samples, however often they go round."""

import math

import numpy as np
import pytest
import torch

from sciflow.errors import InputError
from sciflow.manifolds import (
    SO3,
    SPD,
    Ball,
    Box,
    Euclidean,
    FlatSimplex,
    FlatTorus,
    Hyperbolic,
    Mesh,
    Normal,
    Product,
    Simplex,
    Sphere,
    WrappedNormal,
)
from sciflow.manifolds.symmetric import expm1
from sciflow.rng import normal, sample_generators, step_generator

F64 = torch.float64
EVERYWHERE = [Euclidean(3), Sphere(1), Sphere(2), Sphere(4), FlatTorus(3), SO3(), Hyperbolic(3), SPD(1), SPD(3)]


def gauss_legendre(f, low, high, n=400):
    """∫ f over [low, high]; f maps ``(n,)`` to ``(n,)``."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(n))
    return (high - low) / 2 * (weights * f((high + low) / 2 + (high - low) / 2 * nodes)).sum()


def radial_total(manifold, prior, area, high, axis):
    """∫ p along one geodesic from the mean, times the ``area(r)`` of the sphere at r, which cancels the poles."""
    direction = torch.zeros(manifold.tangent_shape, dtype=F64)
    direction[axis] = 1.0
    mean = manifold.origin()
    length = manifold.inner(mean, direction, direction).sqrt()

    def density(r):
        x = manifold.expmap(mean, r.reshape(-1, *(1,) * direction.ndim) * direction / length)
        return area(r) * prior.log_prob(x).exp()

    return gauss_legendre(density, 0.0, high)


@pytest.mark.parametrize("scale", [0.05, 0.7, 3.0, 20.0])
@pytest.mark.parametrize(
    ("manifold", "area", "high", "axis"),
    [
        (Sphere(1), lambda r: 2 + 0 * r, math.pi, 1),
        (Sphere(2), lambda r: 2 * math.pi * r.sin(), math.pi, 1),
        (Sphere(3), lambda r: 4 * math.pi * r.sin() ** 2, math.pi, 2),
        (SO3(), lambda r: 16 * math.pi * (r / 2).sin() ** 2, math.pi, 1),
        (FlatTorus(1), lambda r: 2 + 0 * r, math.pi, 0),
    ],
    ids=str,
)
def test_normalised_on_compact_manifolds_at_any_scale(manifold, area, high, axis, scale):
    total = radial_total(manifold, WrappedNormal(manifold, scale=scale), area, high, axis)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-10)


@pytest.mark.parametrize("scale", [0.05, 1.0, 2.0])
@pytest.mark.parametrize("d", [2, 3, 5])
def test_normalised_on_hyperbolic_space(d, scale):
    sphere = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
    prior = WrappedNormal(Hyperbolic(d), scale=scale)
    total = radial_total(Hyperbolic(d), prior, lambda r: sphere * r.sinh() ** (d - 1), 10 * scale, 1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-10)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_normalised_on_spd_matrices(scale):
    """∫ over X = [[a, c], [c, b]] with the volume 2^½ (det X)^−3/2 da db dc, in a = e^u, b = e^v, c = √(ab) tanh w."""
    u = torch.linspace(-8, 8, 49, dtype=F64) * scale
    w = torch.linspace(-8, 8, 49, dtype=F64) * scale
    a, b, t = torch.meshgrid(u.exp(), u.exp(), w.tanh(), indexing="ij")
    c = (a * b).sqrt() * t
    x = torch.stack([a, c, c, b], -1).reshape(-1, 2, 2)
    inside = ((1 - t**2) > 1e-9).reshape(-1)  # the rest has no mass and no Cholesky factor
    density = torch.zeros(len(x), dtype=F64)
    density[inside] = WrappedNormal(SPD(2), scale=scale).log_prob(x[inside]).exp()
    det = a * b * (1 - t**2)
    jacobian = a * b * (a * b).sqrt() * (1 - t**2)
    volume = math.sqrt(2) * (jacobian * det**-1.5).reshape(-1) * (u[1] - u[0]) ** 2 * (w[1] - w[0])
    total = (density * torch.where(inside, volume, 0.0)).sum()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)  # smooth and decaying: trapezoid rule


@pytest.mark.parametrize("manifold", EVERYWHERE, ids=str)
def test_samples_follow_the_density(manifold):
    """Their tangents at the mean are standard normal; log p is the flat density over the stretch of volume."""
    n, scale = 20_000, 0.3
    mean = WrappedNormal(manifold).sample(generator=step_generator(3), dtype=F64)
    prior = WrappedNormal(manifold, mean, scale)
    x = prior.sample(n, generator=step_generator(0), dtype=F64)
    u = manifold.logmap(mean.expand(x.shape), x)
    square = manifold.inner(mean, u, u) / scale**2
    ranks = torch.special.gammainc(torch.tensor(manifold.dim / 2, dtype=F64), square.sort().values / 2)  # chi-square
    gap = (ranks - (torch.arange(n, dtype=F64) + 0.5) / n).abs().max()
    assert gap < 2.2 / math.sqrt(n)  # Kolmogorov–Smirnov, p = 1e-4
    flat = -square / 2 - manifold.dim * math.log(scale * math.sqrt(2 * math.pi))
    expected = flat - manifold.log_det_exp(mean, u)
    torch.testing.assert_close(prior.log_prob(x), expected, rtol=0, atol=1e-9)


def test_rounds_matter():
    """A normal much wider than the circle is uniform on it; the nearest preimage alone would not be."""
    x = torch.linspace(-3, 3, 7, dtype=F64)[:, None]
    for manifold, point in ((FlatTorus(1), x), (Sphere(1), torch.cat([x.cos(), x.sin()], -1))):
        log_prob = WrappedNormal(manifold, scale=8.0).log_prob(point)
        torch.testing.assert_close(log_prob, torch.full_like(log_prob, -math.log(2 * math.pi)), rtol=0, atol=1e-12)


def test_torus_is_the_theta_function():
    """Poisson: Σ_k N(x + 2πk; 0, σ²) = (1 + 2 Σ_n e^{−n²σ²/2} cos nx)/2π, angle by angle."""
    x = FlatTorus(3).random(6, 2, generator=step_generator(0), dtype=F64)
    n = torch.arange(1, 40, dtype=F64)
    theta = (1 + 2 * ((n * x[..., None]).cos() * (-(n**2) * 0.9**2 / 2).exp()).sum(-1)) / (2 * math.pi)
    torch.testing.assert_close(WrappedNormal(FlatTorus(3), scale=0.9).log_prob(x), theta.log().sum((1, 2)))


@pytest.mark.parametrize("manifold", [Sphere(2), SO3(), FlatTorus(2), Hyperbolic(3), SPD(3)], ids=str)
def test_gradients_are_finite_at_the_mean_and_far_from_it(manifold):
    mean = WrappedNormal(manifold).sample(generator=step_generator(1), dtype=F64)
    far = manifold.expmap(mean, 3 * manifold.randn_tangent(mean[None], step_generator(2)))
    x = torch.cat([mean[None], far]).requires_grad_()
    log_prob = WrappedNormal(manifold, mean, 0.5).log_prob(x)
    (gradient,) = torch.autograd.grad(log_prob.sum(), x)
    assert log_prob.isfinite().all()
    assert gradient.isfinite().all()


def test_in_flat_space_it_is_the_normal():
    x = normal(4, 3, 2, generator=step_generator(0), dtype=F64)
    torch.testing.assert_close(WrappedNormal(Euclidean(2), scale=0.7).log_prob(x), Normal(2, scale=0.7).log_prob(x))


def test_sample_i_depends_on_generator_i_alone():
    for manifold in EVERYWHERE:
        prior = WrappedNormal(manifold, scale=1.3)
        whole, part = (prior.sample(n, 2, generator=sample_generators(0, at, n)) for at, n in ((0, 5), (3, 1)))
        torch.testing.assert_close(whole[3:4], part, rtol=0, atol=1e-5)  # rounding of matrix functions in float32


@pytest.mark.parametrize(
    "manifold",
    [
        Product(x=Euclidean(2)),
        Euclidean(3, centered=True),
        Simplex(3),
        FlatSimplex(3),
        Ball(2),
        Box((0.0,), (1.0,)),
        Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], modes=2),
    ],
    ids=lambda manifold: type(manifold).__name__,
)
def test_what_has_its_own_prior_is_refused(manifold):
    """Where walls fold the tangent space onto the manifold, one preimage of a point would pass for all of them."""
    with pytest.raises(InputError, match=r"no WrappedNormal on [^\n]*: give[^\n]*$"):
        WrappedNormal(manifold)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(InputError, match="positive"):
        WrappedNormal(Euclidean(1), scale=scale)


def test_exponential_of_a_small_matrix_keeps_its_digits():
    small = 1e-12 * normal(3, 3, generator=step_generator(0), dtype=F64)
    small = small + small.T
    torch.testing.assert_close(expm1(small), small, rtol=1e-11, atol=0)
