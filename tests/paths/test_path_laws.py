"""Every path joins its ends, and its target is the derivative of its point."""

import pytest
import torch

from sciflow.manifolds import SE3, SO3, Euclidean, FlatTorus, Sphere, leaves, tree_map
from sciflow.paths import Cosine, Exponential, GeodesicPath, Linear, Polynomial
from sciflow.rng import step_generator

PATHS = [
    GeodesicPath(Euclidean(3, centered=True)),
    GeodesicPath(Euclidean(3), Cosine()),
    GeodesicPath(Sphere(2), Exponential(5.0)),
    GeodesicPath(FlatTorus(4), Polynomial(2)),
    GeodesicPath(SO3()),
    GeodesicPath(SE3(), Cosine()),
    GeodesicPath(SE3(), {"translation": Linear(), "rotation": Exponential(3.0)}),
]


def ends(path, n=16):
    generator = step_generator(0)
    return tuple(path.manifold.random(n, 5, generator=generator, dtype=torch.float64) for _ in range(2))


def assert_same(a, b, atol=1e-12):
    tree_map(lambda p, q: torch.testing.assert_close(p, q, atol=atol, rtol=0), a, b)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.manifold}-{path.schedule}")
def test_path_laws(path):
    x0, x1 = ends(path)
    t = torch.linspace(0.0, 0.95, 16, dtype=torch.float64)
    for time, end in ((0.0, x0), (1.0, x1)):
        bound = path.sample(x0, x1, torch.full_like(t, time))
        assert path.manifold.dist(bound.x_t, end).max() < 1e-12
        assert all(u.isfinite().all() for u in leaves(bound.u_t))

    point = path.sample(x0, x1, t)
    derivative = torch.func.jvp(lambda s: path.sample(x0, x1, s).x_t, (t,), (torch.ones_like(t),))[1]
    assert_same(path.manifold.embed(point.x_t, point.u_t), derivative)
    # 1/(1 − κ) amplifies the rounding of log at the late times: κ(0.95) = 0.994 for Cosine
    assert_same(path.velocity(x1, point.x_t, t), point.u_t, atol=1e-10)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.manifold}-{path.schedule}")
def test_velocity_is_finite_at_the_end(path):
    x0, x1 = ends(path)
    velocity = path.velocity(x1, x0, torch.ones(16, dtype=torch.float64))
    assert all(u.isfinite().all() for u in leaves(velocity))


def test_schedules_must_name_the_factors():
    with pytest.raises(ValueError, match="one schedule a factor"):
        GeodesicPath(SE3(), {"rotation": Linear()})
    with pytest.raises(ValueError, match="one schedule a factor"):
        GeodesicPath(SO3(), {"rotation": Linear()})
