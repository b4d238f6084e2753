"""Cases on which other libraries fail, one law each, held on every manifold to which it applies.

Each docstring begins with what goes wrong elsewhere. What is particular to one manifold is in the tests of its name.
"""

import math

import pytest
import torch
import trimesh

from sciflow.manifolds import (
    SE3,
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
from sciflow.nets import FunctionField
from sciflow.paths import GeodesicCost, GeodesicPath, OptimalTransport
from sciflow.rng import step_generator
from sciflow.sampling import RK4, Dopri5, Euler, Midpoint, log_prob, sample

F64 = torch.float64
_SOLID = trimesh.creation.icosphere(subdivisions=1)
CLOSED = [
    Euclidean(3),
    Sphere(1),
    Sphere(2),
    Sphere(9),
    FlatTorus(3),
    SO3(),
    SE3(),
    Hyperbolic(3),
    SPD(3),
    Simplex(4),
    FlatSimplex(4),
    Box((-1.0, 0.0), (1.0, 3.0)),
    Ball(3),
    Product(s=Sphere(2), a=FlatTorus(2), q=SO3(), h=Hyperbolic(2), c=SPD(2), p=Simplex(3)),
]
EVERYWHERE = [*CLOSED, Mesh(_SOLID.vertices, _SOLID.faces, modes=9)]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
closed = pytest.mark.parametrize("manifold", CLOSED, ids=str)
everywhere = pytest.mark.parametrize("manifold", EVERYWHERE, ids=str)


def draw(manifold, *shape, seed=0, dtype=F64):
    return manifold.random(*shape, generator=step_generator(seed), dtype=dtype)


def field_of(manifold, seen=None):
    """A smooth field that treats every place of an event alike; ``seen`` collects the times at which it is asked."""

    def part(m, x, t):
        c = m.coordinates(x)
        weight = torch.linspace(-1, 1, c.shape[-1] * math.prod(m.tangent_shape), dtype=c.dtype).sin()
        wave = torch.sin(c @ weight.reshape(c.shape[-1], -1) + t.reshape(-1, *(1,) * (c.ndim - 1)))
        return m.tangent(x, 0.3 * wave.unflatten(-1, m.tangent_shape))

    def velocity(x, t):
        if seen is not None:
            seen.append(t.clone())
        if isinstance(manifold, Product):
            return {name: part(factor, x[name], t) for name, factor in manifold.factors.items()}
        return part(manifold, x, t)

    return FunctionField(manifold, velocity)


@DTYPES
@pytest.mark.parametrize(
    "manifold", [Sphere(1), Sphere(2), Sphere(9), FlatTorus(1), SO3(), Product(s=Sphere(2), q=SO3())], ids=str
)
def test_antipodes_are_joined_at_full_speed(manifold, dtype):
    """Elsewhere the path stays at x0 with velocity zero, silently. Here: cut_locus says so, and the path arrives."""
    x0 = draw(manifold, 64, 3, dtype=dtype)
    factors = manifold.factors if isinstance(manifold, Product) else {"": manifold}
    steps = {}
    for name, factor in factors.items():
        point = x0[name] if name else x0
        u = factor.randn_tangent(point, step_generator(1))
        steps[name] = u * (math.pi / factor.inner(point, u, u).sqrt()[..., None])
    x1 = manifold.expmap(x0, steps if isinstance(manifold, Product) else steps[""])
    ends = [leaf.requires_grad_() for leaf in (*leaves(x0), *leaves(x1))]
    assert manifold.cut_locus(x0, x1).all()
    path = GeodesicPath(manifold)
    sample_half = path.sample(x0, x1, torch.full((64,), 0.5, dtype=dtype))
    speed = manifold.inner(sample_half.x_t, sample_half.u_t, sample_half.u_t).sqrt()
    half, whole = manifold.dist(x0, sample_half.x_t), math.pi * math.sqrt(len(factors))
    tol = 100 * torch.finfo(dtype).eps
    assert (speed - whole).abs().max() < tol
    assert (half - whole / 2).abs().max() < tol
    assert manifold.dist(path.sample(x0, x1, torch.ones(64, dtype=dtype)).x_t, x1).max() < tol
    outcome = sum(leaf.sum() for leaf in (*leaves(sample_half.x_t), *leaves(sample_half.u_t), half))
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(outcome, ends))


@DTYPES
@everywhere
def test_a_point_is_no_distance_from_itself(manifold, dtype):
    """Elsewhere NaN for one point in five (arccos beyond 1), or a NaN gradient (√0). Here both are zero, everywhere."""
    x = draw(manifold, 2000, dtype=dtype)
    y = tree_map(lambda part: part.clone(), x)
    ends = [leaf.requires_grad_() for leaf in (*leaves(x), *leaves(y))]
    distance = manifold.dist(x, y)
    assert (distance == 0).all()
    assert all((slope == 0).all() for slope in torch.autograd.grad(distance.sum(), ends))


@closed
def test_what_is_not_a_number_is_no_distance_of_zero(manifold):
    """A guard ``where(d² > 0, …, 0)`` against √0 hides NaN."""
    x = draw(manifold, 3)
    if "SPD" in str(manifold):
        pytest.skip("the Cholesky factorisation refuses it, with an error of its own")
    assert manifold.dist(tree_map(lambda part: part * torch.nan, x), x).isnan().all()


@closed
def test_geodesics_of_events(manifold):
    """Elsewhere (B, N, d) crashes. Here times (B,) serve every place, and places do not mix."""
    x0, x1 = draw(manifold, 4, 2, 3), draw(manifold, 4, 2, 3, seed=1)
    t = torch.linspace(0, 1, 4, dtype=F64)
    flat = [tree_map(lambda part: part.flatten(0, 2), x) for x in (x0, x1)]
    whole, alone = manifold.geodesic(x0, x1, t), manifold.geodesic(*flat, t.repeat_interleave(6))
    for a, b in zip(whole, alone, strict=True):
        tree_map(lambda p, q: torch.testing.assert_close(p.flatten(0, 2), q, rtol=1e-12, atol=1e-12), a, b)


@everywhere
def test_likelihoods_of_events(manifold):
    """Elsewhere (B, N, d) raises IndexError. Here log p is (B,), and independent places add."""
    x = draw(manifold, 3, 2)
    grid = torch.linspace(1, 0, 5, dtype=F64)
    field, prior = field_of(manifold), manifold.prior()
    whole = log_prob(field, x, prior, step=RK4(), grid=grid)
    alone = log_prob(field, tree_map(lambda part: part.flatten(0, 1), x), prior, step=RK4(), grid=grid)
    assert whole.shape == (3,)
    torch.testing.assert_close(whole, alone.reshape(3, 2).sum(1), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("step", [Euler(), Midpoint(), RK4(), Dopri5()])
@pytest.mark.parametrize("times", [(0.5, 0.9), (0.9, 0.5)], ids=str)
@everywhere
def test_grids_start_and_end_where_they_say(manifold, times, step):
    """Elsewhere the grid [½, 1] visits 0 … ½, and a reversed one runs forwards. Here no time is asked outside it."""
    seen = []
    x = draw(manifold, 3)
    sample(field_of(manifold, seen), x, torch.linspace(*times, 3, dtype=F64), step)
    asked = torch.stack(seen)[:, 0]
    assert asked[0] == times[0]
    assert asked.min() >= min(times) - 1e-15
    assert asked.max() <= max(times) + 1e-15
    assert abs(float(asked[-1]) - times[1]) <= 0.2 + 1e-12  # Euler asks last at the start of its last step


@closed
def test_there_and_back(manifold):
    """No other library integrates backwards on manifolds. Here an adaptive step returns to where it came from."""
    if manifold.injectivity_radius == 0 or (isinstance(manifold, Product) and "p" in manifold.factors):
        pytest.skip("mass pressed against a wall does not come back: see test_flows_with_walls")
    x, tol = draw(manifold, 5), 1e-9
    grid = torch.tensor([0.3, 0.8], dtype=F64)
    there = sample(field_of(manifold), x, grid, Dopri5(tol, tol), track_logq=True)
    back = sample(field_of(manifold), there.x, grid.flip(0), Dopri5(tol, tol), track_logq=True, logq0=there.logq)
    assert manifold.dist(there.x, x).min() > 1e-3
    assert manifold.dist(back.x, x).max() < 100 * tol
    assert back.logq.abs().max() < 100 * tol


@everywhere
def test_transport_keeps_every_target(manifold):
    """Elsewhere pairs are drawn from the plan with replacement: a third of the data is lost in every batch."""
    x0, x1 = draw(manifold, 40, 2), draw(manifold, 40, 2, seed=1)
    i0, i1, weight = OptimalTransport(GeodesicCost(manifold))(x0, x1)
    assert sorted(i0.tolist()) == sorted(i1.tolist()) == list(range(40))
    assert (weight == 1).all()


@DTYPES
@everywhere
def test_precision_is_kept(manifold, dtype):
    """Elsewhere a float32 constant or grid turns float64 states into float32. Here all come out as they went in."""
    x, y = draw(manifold, 3, 2, dtype=dtype), draw(manifold, 3, 2, seed=1, dtype=dtype)
    grid = torch.tensor([0.0, 0.25, 0.5])  # float32, whatever the states are
    run = sample(field_of(manifold), x, grid, track_logq=True)
    likely = log_prob(field_of(manifold), x, manifold.prior(), step=RK4(), grid=grid.flip(0))
    outcome = [run.x, run.logq, likely, manifold.prior().log_prob(x), manifold.squared_distances(x, y)]
    if manifold.has_logmap:
        t = torch.rand(3, dtype=dtype)
        point = GeodesicPath(manifold).sample(x, y, t)
        outcome += [point.x_t, point.u_t, manifold.transp(x, y, manifold.logmap(x, y))]
    assert {leaf.dtype for state in outcome for leaf in leaves(state)} == {dtype}


@pytest.mark.parametrize("short", [1e-2, 1e-3, 1e-4, 1e-5])
@DTYPES
def test_rotations_near_the_half_turn(dtype, short):
    """Elsewhere the angle is arccos((tr − 1)/2), which sees nothing of the last 3e-4 in float32. Here all of it."""
    so3 = SO3()
    q = draw(so3, 500, dtype=dtype)
    u = so3.randn_tangent(q, step_generator(1))
    u = u * ((math.pi - short) / u.norm(dim=-1, keepdim=True))
    r = so3.expmap(q, u)
    tol = 16 * torch.finfo(dtype).eps
    assert (so3.dist(q, r) - (math.pi - short)).abs().max() < tol
    sides = (so3.logmap(q, r) * u).sum(-1).sign()  # a rounding may turn it to the other side only at the half turn
    assert (sides > 0).all() or short < tol
