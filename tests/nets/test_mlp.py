"""Laws of fields on every manifold: shapes, tangency, single-valuedness, conditions."""

import math

import pytest
import torch
import trimesh

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
    Product,
    Simplex,
    Sphere,
    leaves,
    tree_map,
)
from sciflow.nets import FunctionField, MLPField
from sciflow.nets.embedding import Features, TimeEmbedding

F64 = torch.float64
SOLID = trimesh.creation.icosphere(subdivisions=1)
MANIFOLDS = {
    "euclidean": Euclidean(2),
    "centered": Euclidean(3, centered=True),
    "sphere": Sphere(2),
    "torus": FlatTorus(2),
    "so3": SO3(),
    "hyperbolic": Hyperbolic(2),
    "spd": SPD(3),
    "simplex": Simplex(3),
    "flat simplex": FlatSimplex(3),
    "box": Box((-1.0, 0.0), (1.0, 3.0)),
    "ball": Ball(2),
    "mesh": Mesh(SOLID.vertices, SOLID.faces, modes=9),
    "product": Product(r=Euclidean(3), q=SO3(), s=Sphere(2), a=FlatTorus(2)),
}
T = torch.tensor([0.0, 0.5, 1.0], dtype=F64)


def close(x, y, atol=1e-13):
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=atol), x, y)


@pytest.fixture(params=MANIFOLDS)
def manifold(request):
    return MANIFOLDS[request.param]


@pytest.fixture(params=[(4,), (2, 3)], ids=str)
def field_and_state(manifold, request):
    torch.manual_seed(0)
    field = MLPField(manifold, request.param, width=16, depth=2).double()
    return field, manifold.random(3, *request.param, generator=torch.Generator().manual_seed(0), dtype=F64)


def test_velocity_is_tangent(field_and_state):
    field, x = field_and_state
    v = field.velocity(x, T)
    close(field.manifold.proju(x, v), v)
    zero = tree_map(torch.zeros_like, v)
    close(field.manifold.expmap(x, zero), x, atol=1e-12)  # the roots of a simplex lose a rounding


def test_one_point_has_one_velocity(field_and_state):
    """Quaternions q and −q, angles a and a + 2π are the same place."""
    field, x = field_and_state

    def other_name(part, x):
        return -x if isinstance(part, SO3) else x + 2 * math.pi if isinstance(part, FlatTorus) else x

    m = field.manifold
    y = {k: other_name(f, x[k]) for k, f in m.factors.items()} if isinstance(m, Product) else other_name(m, x)
    close(field.velocity(y, T), field.velocity(x, T), atol=1e-12)


def test_gradients_reach_every_parameter_and_the_point(field_and_state):
    field, x = field_and_state
    x = tree_map(lambda part: part.requires_grad_(), x)
    sum(part.square().sum() for part in leaves(field.velocity(x, T))).backward()
    for slope in (p.grad for p in (*field.parameters(), *leaves(x)) if p.requires_grad):
        assert slope.any()
        assert slope.isfinite().all()


def test_forward_derivatives_through_the_field(field_and_state):
    """jvp along the flow, with a backward pass through it."""
    field, x = field_and_state
    v = field.velocity(x, T)
    along = tree_map(torch.Tensor.detach, field.manifold.embed(x, v))
    _, rate = torch.func.jvp(field.velocity, (x, T), (along, torch.ones_like(T)))
    sum(part.square().sum() for part in leaves(rate)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in field.parameters())


def test_points_without_event_axes():
    field = MLPField(Sphere(2), width=8, depth=1).double()
    assert field.velocity(Sphere(2).random(3, dtype=F64), T).shape == (3, 3)


def test_conditions_enter_by_name_in_any_order():
    torch.manual_seed(0)
    field = MLPField(Euclidean(2), width=8, depth=1, cond_dim=4).double()
    x = torch.zeros(3, 2, dtype=F64)
    a, b = torch.randn(3, dtype=F64), torch.randn(3, 3, dtype=F64)
    v = field.velocity(x, T, a=a, b=b)
    close(field.velocity(x, T, b=b, a=a), v, atol=0.0)
    assert not torch.allclose(field.velocity(x, T, a=a + 1, b=b), v)
    for wrong in ({}, {"a": a}, {"a": a, "b": b, "c": a}):
        with pytest.raises(ValueError, match="cond_dim=4"):
            field.velocity(x, T, **wrong)


def test_jump_and_denoise_follow_geodesics(manifold):
    """Of the velocity log_x(y)/(1 − t), that of a geodesic to y: denoise gives y, and jumps land on the geodesic."""
    if not manifold.has_logmap:
        pytest.skip("no closed-form geodesics between two points")
    g = torch.Generator().manual_seed(0)
    x0, y = (manifold.random(3, 2, generator=g, dtype=F64) for _ in range(2))
    s, t = torch.tensor([0.0, 0.2, 0.4], dtype=F64), torch.tensor([0.5, 0.6, 0.9], dtype=F64)

    def velocity(x, t):
        u = manifold.logmap(x, y)
        return tree_map(lambda p: p / (1 - t).reshape(-1, *(1,) * (p.ndim - 1)), u)

    field = FunctionField(manifold, velocity)
    x_s, x_t = (manifold.geodesic(x0, y, time)[0] for time in (s, t))
    assert manifold.dist(field.denoise(x_s, s), y).max() < 1e-12
    assert manifold.dist(field.jump(x_s, s, t), x_t).max() < 1e-12


def test_waves_fade_in_with_time():
    """All there at t = 1; before, each shorter by exp(−(|ω| blur (1 − t))²/2); the coordinates stay as they are."""
    torch.manual_seed(0)
    features = Features(Sphere(2), fourier=5, sharpness=20.0, blur=0.5).double()
    x = Sphere(2).random(3, 4, dtype=F64)
    now, end = features(x, T), features(x, torch.ones(3, dtype=F64))
    fade = torch.exp(-0.5 * (features.omega.norm(dim=0) * 0.5 * (1 - T)[:, None]) ** 2)
    expected = end * torch.cat([torch.ones(3, 3, dtype=F64), fade, fade], -1)[:, None]
    torch.testing.assert_close(now, expected, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close((x @ features.omega).sin(), end[..., 3:8], rtol=1e-12, atol=1e-15)


def test_the_clock_is_finite_at_times_a_step_may_ask_for():
    assert TimeEmbedding(4)(torch.tensor([-0.5, 0.0, 1.0, 1.01, 2.0])).isfinite().all()
