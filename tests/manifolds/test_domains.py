"""Bounded domains: walls reflect, nothing leaves, and corners are places like others."""

import math

import pytest
import torch

from sciflow.errors import InputError
from sciflow.manifolds import Ball, Box, FlatSimplex
from sciflow.rng import normal, step_generator

F64 = torch.float64
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
DOMAINS = pytest.mark.parametrize(
    "domain",
    [
        Box((-1.0, 0.0, 2.0), (1.0, 0.5, 5.0)),
        Ball(1),
        Ball(2, 0.5),
        Ball(4),
        FlatSimplex(2),
        FlatSimplex(3),
        FlatSimplex(5),
    ],
    ids=str,
)


def wall(domain, n):
    """Points on walls, and the unit normals there."""
    x = domain.random(n, generator=step_generator(7), dtype=F64)
    side = torch.arange(n) % math.prod(domain.point_shape)
    axis = torch.nn.functional.one_hot(side, math.prod(domain.point_shape)).to(F64)
    if isinstance(domain, Box):
        return torch.where(axis == 1, torch.tensor(domain.high, dtype=F64), x), axis
    if isinstance(domain, Ball):
        normals = x / x.norm(dim=-1, keepdim=True)
        return domain.radius * normals, normals
    normals = 1 / domain.k - axis
    face = (1 - axis) * x
    return face / face.sum(-1, keepdim=True), normals / normals.norm(dim=-1, keepdim=True)


def corners(domain, dtype):
    """Vertices, points of walls, and the middle."""
    if isinstance(domain, Box):
        low, high = (torch.tensor(b, dtype=dtype) for b in (domain.low, domain.high))
        return torch.stack([low, high, torch.where(torch.arange(domain.dim) == 0, low, high), (low + high) / 2])
    size = math.prod(domain.point_shape)
    vertices = torch.eye(size, dtype=dtype)
    if isinstance(domain, Ball):
        return domain.radius * torch.cat([vertices, -vertices, 0 * vertices[:1]])
    return torch.cat([vertices, (vertices[:1] + vertices[1:]) / 2, torch.full((1, size), 1 / size, dtype=dtype)])


@DOMAINS
@pytest.mark.parametrize("length", [0.3, 3.0])
def test_billiards(domain, length):
    """Nothing leaves; vectors keep their products; the way in one stride, in many and back is the same."""
    start = step_generator(0)
    x = domain.random(300, generator=start, dtype=F64)
    w, u, v = (domain.randn_tangent(x, start) for _ in range(3))
    w = length * w / w.norm(dim=-1, keepdim=True)
    end = domain.expmap(x, w)
    assert (domain.projx(end) - end).abs().max() < 1e-14
    moved = [domain.transp_along(x, w, z) for z in (w, u, v)]
    for a, b in ((w, w), (w, u), (u, v)):
        before = domain.inner(x, a, b)
        after = domain.inner(end, *(domain.transp_along(x, w, z) for z in (a, b)))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-11)
    assert (domain.expmap(end, -moved[0]) - x).abs().max() < 1e-11  # each bounce on a curved wall adds to roundings

    walker, stride, carried = x, w / 16, u
    for _ in range(16):
        walker, stride, carried = (
            domain.expmap(walker, stride),
            domain.transp_along(walker, stride, stride),
            domain.transp_along(walker, stride, carried),
        )
    torch.testing.assert_close(walker, end, rtol=0, atol=1e-11)
    torch.testing.assert_close(carried, moved[1], rtol=0, atol=1e-10)


@DOMAINS
def test_angle_of_reflection(domain):
    """At the wall every vector v becomes v − 2⟨v, n⟩n, and the path goes on along its own."""
    point, n = wall(domain, 60)
    x = domain.random(60, generator=step_generator(1), dtype=F64)
    v = domain.randn_tangent(x, step_generator(2))
    arrive = point - x
    expected = lambda u: u - 2 * (u * n).sum(-1, keepdim=True) * n  # noqa: E731
    past = 1e-6
    carried = domain.transp_along(x, (1 + past) * arrive, v)
    torch.testing.assert_close(carried, expected(v), rtol=0, atol=1e-11)
    end = domain.expmap(x, (1 + past) * arrive)
    torch.testing.assert_close(end, point + past * expected(arrive), rtol=0, atol=1e-13)
    # a path that ends on the wall has not been reflected: its velocity is still the one with which it came
    torch.testing.assert_close(domain.transp(x, point, arrive), arrive, rtol=0, atol=0)
    torch.testing.assert_close(domain.expmap(x, arrive), point, rtol=0, atol=1e-14)


def test_a_box_folds_by_the_triangle_wave():
    box, x = Box((0.0,), (math.pi,)), torch.linspace(0, math.pi, 7, dtype=F64)[:, None]
    for w in torch.linspace(-40, 40, 33, dtype=F64):
        torch.testing.assert_close(box.expmap(x, w.expand(7, 1)), (x + w).cos().acos(), rtol=0, atol=1e-6)


def test_a_path_along_the_wall_of_a_ball_slides():
    """The limit of short chords: an arc as long as the path."""
    ball, x = Ball(2, 2.0), torch.tensor([[2.0, 0.0]], dtype=F64)
    for length in (0.1, 1.0, 30.0):
        end = ball.expmap(x, torch.tensor([[0.0, length]], dtype=F64))
        angle = torch.tensor(length / 2, dtype=F64)
        torch.testing.assert_close(end[0], 2 * torch.stack([angle.cos(), angle.sin()]), rtol=0, atol=1e-7)


@DOMAINS
def test_projx_is_the_nearest_point(domain):
    """No point y of a convex domain lies ahead: ⟨z − Pz, y − Pz⟩ ≤ 0."""
    z = 3 * normal(200, *domain.point_shape, generator=step_generator(0), dtype=F64)
    y = domain.random(200, generator=step_generator(1), dtype=F64)
    near = domain.projx(z)
    assert (domain.projx(near) - near).abs().max() < 1e-15
    assert ((z - near) * (y - near)).sum(-1).max() < 1e-13


@DOMAINS
@DTYPES
def test_far_and_undefined_steps(domain, dtype):
    """A stride too long to be followed still ends inside, and what is not a number stays so."""
    x = domain.random(20, generator=step_generator(0), dtype=dtype)
    for length in (1e4, 1e9):
        end = domain.expmap(x, length * domain.randn_tangent(x, step_generator(1)))
        assert (domain.projx(end) - end).abs().max() < 8 * torch.finfo(dtype).eps
    assert domain.expmap(x, x * torch.nan).isnan().all()
    assert domain.projx(x * torch.nan).isnan().all()


@DOMAINS
@DTYPES
def test_corners(domain, dtype):
    """Out of every corner in every direction: inside, as long as it was, with finite gradients."""
    at = corners(domain, dtype)
    start = step_generator(3)
    directions = torch.cat([normal(20, *domain.point_shape, generator=start, dtype=dtype), at - at[-1], at[-1:] * 0])
    x = at.repeat_interleave(len(directions), 0).requires_grad_()
    y = at.roll(1, 0).repeat_interleave(len(directions), 0).requires_grad_()
    u = domain.proju(x, directions.repeat(len(at), 1)).detach().requires_grad_()
    end, carried = domain.expmap(x, u), domain.transp_along(x, u, u)
    tol = 100 * torch.finfo(dtype).eps
    assert (domain.projx(end) - end).abs().max() < tol
    assert (carried.norm(dim=-1) - u.norm(dim=-1)).abs().max() < tol * max(1, float(u.detach().norm(dim=-1).max()))
    assert (domain.dist(x, x) == 0).all()
    middle, velocity = domain.geodesic(x, y, torch.full((len(x),), 0.5, dtype=dtype))
    outcome = sum(part.square().sum() for part in (end, carried, middle, velocity)) + domain.dist(x, x).sum()
    for gradient in torch.autograd.grad(outcome + domain.dist(x, y).sum(), (x, y, u)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("domain", "volume"),
    [
        (Box((0.0, -1.0), (2.0, 2.0)), 6),
        (Ball(1, 3.0), 6),
        (Ball(2, 2.0), 4 * math.pi),
        (Ball(3), 4 / 3 * math.pi),
        (FlatSimplex(2), math.sqrt(2)),
        (FlatSimplex(3), math.sqrt(3) / 2),
    ],
    ids=str,
)
def test_uniform_is_one_over_the_volume(domain, volume):
    x = domain.random(2, 5, generator=step_generator(0), dtype=F64)
    torch.testing.assert_close(domain.prior().log_prob(x), x.new_full((2,), -5 * math.log(volume)))


def test_uniform_draws():
    """Second moments: width²/12 in a box, R²d/(d + 2) in a ball, 2/k(k + 1) on a simplex."""
    n = 40_000
    for domain, moment, exact in (
        (Box((0.0,), (3.0,)), lambda x: (x - 1.5).square(), 0.75),
        (Ball(3, 2.0), lambda x: x.square().sum(-1), 12 / 5),
        (FlatSimplex(4), lambda x: x.square()[..., 0], 0.1),
    ):
        values = moment(domain.random(n, generator=step_generator(0), dtype=F64))
        assert abs(float(values.mean()) - exact) < 4 * float(values.std()) / math.sqrt(n)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Box((0.0,), (0.0,)),
        lambda: Box((0.0,), (1.0, 2.0)),
        lambda: Box((0.0,), (math.inf,)),
        lambda: Box((), ()),
        lambda: Ball(2, 0.0),
    ],
)
def test_domains_without_inside_or_end_are_refused(make):
    with pytest.raises(InputError, match="give"):
        make()
