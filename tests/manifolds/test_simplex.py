"""The Fisher–Rao simplex where naive formulas fail: close points, vertices, faces, and paths that reach them."""

import math

import pytest
import torch

from sciflow.errors import InputError
from sciflow.manifolds import Dirichlet, Simplex
from sciflow.rng import normal, sample_generators, step_generator
from sciflow.sampling import divergence

F64 = torch.float64
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)


def corners(k, dtype):
    """All vertices, midpoints of edges from the first one, a face, and the centre."""
    vertices = torch.eye(k, dtype=dtype)
    face = torch.cat([torch.zeros(1, dtype=dtype), torch.full((k - 1,), 1 / (k - 1), dtype=dtype)])
    return torch.cat([vertices, (vertices[:1] + vertices[1:]) / 2, face[None], torch.full((1, k), 1 / k, dtype=dtype)])


def pairs(x):
    return x.repeat_interleave(len(x), 0), x.repeat(len(x), 1)


def test_metric_and_distance_are_fisher_rao():
    simplex = Simplex(5)
    x, y = (simplex.random(100, generator=step_generator(seed), dtype=F64) for seed in (0, 1))
    u, v = (simplex.randn_tangent(x, step_generator(seed)) for seed in (2, 3))
    dp, dq = simplex.embed(x, u), simplex.embed(x, v)
    assert dp.sum(-1).abs().max() < 1e-14
    # division by small x amplifies roundings
    torch.testing.assert_close(simplex.inner(x, u, v), (dp * dq / x).sum(-1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(simplex.dist(x, y), 2 * (x * y).sqrt().sum(-1).acos(), rtol=0, atol=1e-12)


@DTYPES
def test_distances_are_exact_down_to_rounding(dtype):
    """Against float64 on the same rounded points; the difference of their roots would see none of this."""
    simplex, eps = Simplex(4), torch.finfo(dtype).eps
    x = simplex.random(200, generator=step_generator(0), dtype=dtype)
    assert (simplex.dist(x, x) == 0).all()
    for size in (1e-3, 1e2 * eps):
        y = x * (1 + size * normal(200, 4, generator=step_generator(1), dtype=dtype))
        s, d = x.double(), y.double() - x.double()
        near = d / (s.sqrt() + y.double().sqrt())
        chord = (near - s.sqrt() * (near * s.sqrt()).sum(-1, keepdim=True)).norm(dim=-1)
        exact = 2 * torch.atan2(chord, (s * y.double()).sqrt().sum(-1))
        torch.testing.assert_close(simplex.dist(x, y).double(), exact, rtol=20 * eps, atol=0)


@DTYPES
@pytest.mark.parametrize("k", [2, 3, 8])
def test_geodesics_between_corners(k, dtype):
    """From every vertex, edge and face to every other: the right length, full speed all the way, finite gradients."""
    simplex, tol = Simplex(k), 200 * torch.finfo(dtype).eps
    x0, x1 = (x.clone().requires_grad_() for x in pairs(corners(k, dtype)))
    exact = 2 * (x0 * x1).sqrt().sum(-1).clamp(max=1).acos().detach()
    distance = simplex.dist(x0, x1)
    assert (distance - exact).abs().max() < 4 * math.sqrt(torch.finfo(dtype).eps)  # arccos is what is imprecise
    assert (distance[(x0 == x1).all(-1)] == 0).all()
    assert not simplex.cut_locus(x0, x1).any()
    for time in (0.0, 1e-6, 0.5, 1.0):
        t = torch.full((len(x0),), time, dtype=dtype, requires_grad=True)
        x_t, u_t = simplex.geodesic(x0, x1, t)
        assert (x_t >= 0).all()
        assert (simplex.inner(x_t, u_t, u_t).sqrt() - distance).abs().max() < tol
        assert (simplex.dist(x0, x_t) - time * distance).abs().max() < tol
        assert simplex.inner(x_t, u_t - simplex.proju(x_t, u_t), u_t).abs().max() < tol
        outcome = x_t.square().sum() + u_t.sum() + simplex.dist(x_t, x1).sum() + simplex.coordinates(x_t).sum()
        for gradient in torch.autograd.grad(outcome, (x0, x1, t)):
            assert gradient.isfinite().all()


def test_paths_are_reflected_at_faces():
    """Two halves make a whole, whatever lies between; all stays in the simplex, and lengths are kept."""
    simplex, start = Simplex(4), step_generator(0)
    x = simplex.random(500, generator=start, dtype=F64)
    w = 3 * simplex.randn_tangent(x, start)
    u = simplex.randn_tangent(x, start)
    end, carried = simplex.expmap(x, w), simplex.transp_along(x, w, u)
    assert (end >= 0).all()
    assert (end.sum(-1) - 1).abs().max() < 1e-14
    assert (carried.norm(dim=-1) - u.norm(dim=-1)).abs().max() < 1e-13
    assert (simplex.proju(end, carried) - carried).abs().max() < 1e-13
    middle, along = simplex.expmap(x, 0.37 * w), simplex.transp_along(x, 0.37 * w, w)
    assert simplex.dist(simplex.expmap(middle, 0.63 * along), end).max() < 1e-13
    further = simplex.transp_along(middle, 0.63 * along, simplex.transp_along(x, 0.37 * w, u))
    torch.testing.assert_close(further, carried, rtol=0, atol=1e-12)
    back = simplex.expmap(end, -simplex.transp_along(x, w, w))
    assert simplex.dist(back, x).max() < 1e-13


def test_a_path_leaves_a_face_at_the_angle_at_which_it_came():
    """Straight at p₁ = 0: only the component across the face changes sign."""
    simplex = Simplex(3)
    wall = torch.tensor([[0.0, 0.3, 0.7]], dtype=F64)
    x = torch.tensor([[0.2, 0.5, 0.3]], dtype=F64)
    to_wall = simplex.logmap(x, wall)
    before = simplex.transp_along(x, (1 - 1e-9) * to_wall, to_wall)
    after = simplex.transp_along(x, (1 + 1e-9) * to_wall, to_wall)
    torch.testing.assert_close(after, before * torch.tensor([-1, 1, 1]), rtol=0, atol=1e-8)


def test_divergence_is_smooth_up_to_the_vertices():
    """A field that is smooth in √p has a divergence there: that of points nearby, and no infinite slope of the root."""
    simplex = Simplex(3)
    weight = normal(3, 3, generator=step_generator(0), dtype=F64)
    velocity = lambda x, t: simplex.proju(x, torch.sin(simplex.coordinates(x) @ weight))  # noqa: E731
    at = corners(3, F64)
    t = torch.zeros(len(at), dtype=F64)
    beside = simplex.geodesic(at, torch.full_like(at, 1 / 3), torch.full_like(t, 1e-6))[0]
    there, near = (divergence(velocity, simplex, x, t) for x in (at, beside))
    torch.testing.assert_close(there, near, rtol=0, atol=1e-5)  # the distance between them


def test_projx_mends_steps_that_left():
    x = torch.tensor([[0.5, 0.7, -0.2], [1.0, 0.0, 0.0]], dtype=F64)
    torch.testing.assert_close(Simplex(3).projx(x), torch.tensor([[5 / 12, 7 / 12, 0], [1, 0, 0]], dtype=F64))


def test_the_prior_is_uniform():
    """The quarter circle and the octant of the sphere of radius 2; second moments of Dirichlet(½)."""
    n, k = 40_000, 3
    for simplex, volume in ((Simplex(2), math.pi), (Simplex(3), 2 * math.pi)):
        x = simplex.random(2, 5, generator=step_generator(0), dtype=F64)
        torch.testing.assert_close(simplex.prior().log_prob(x), x.new_full((2,), -5 * math.log(volume)))
        same = Dirichlet((0.5,) * simplex.k).log_prob(x)
        torch.testing.assert_close(same, simplex.prior().log_prob(x), rtol=1e-12, atol=0)
    square = Simplex(k).random(n, generator=step_generator(0), dtype=F64).square().mean(0)
    assert (square - 3 / (k * (k + 2))).abs().max() < 4 * math.sqrt(0.1 / n)  # E p² = (½)(3/2)/((k/2)(k/2 + 1))


def test_dirichlet_is_the_dirichlet_density_on_the_riemannian_volume():
    concentration = (0.3, 2.0, 1.0, 5.0)
    prior, reference = Dirichlet(concentration), torch.distributions.Dirichlet(torch.tensor(concentration, dtype=F64))
    x = prior.sample(6, 2, generator=step_generator(0), dtype=F64)
    lebesgue = prior.log_prob(x) + Simplex(4).log_volume_element(x).sum(-1)
    torch.testing.assert_close(lebesgue, reference.log_prob(x).sum(-1), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("concentration", [(0.5, 0.5), (3.0, 1.0, 0.2), (1e-3, 1e-3, 2e-3)])
@DTYPES
def test_dirichlet_draws(concentration, dtype):
    """Means and variances to four standard errors, gradients at faces, one stream a sample."""
    n, prior = 20_000, Dirichlet(concentration)
    x = prior.sample(n, generator=step_generator(0), dtype=dtype)
    reference = torch.distributions.Dirichlet(torch.tensor(concentration, dtype=F64))
    error = (x.double().mean(0) - reference.mean).abs()
    assert (error < 4 * (reference.variance / n).sqrt()).all()
    squares = (x.double() - reference.mean).square()
    assert ((squares.mean(0) - reference.variance).abs() < 4 * squares.std(0) / math.sqrt(n)).all()
    vertex = torch.eye(len(concentration), dtype=dtype, requires_grad=True)
    (slope,) = torch.autograd.grad(prior.log_prob(vertex).sum(), vertex)
    assert slope.isfinite().all()
    whole = prior.sample(6, 2, generator=sample_generators(0, 0, 6), dtype=dtype)
    assert torch.equal(whole[3:5], prior.sample(2, 2, generator=sample_generators(0, 3, 2), dtype=dtype))


@pytest.mark.parametrize("concentration", [(1.0,), (1.0, 0.0), (1.0, math.nan)])
def test_a_concentration_that_is_none_is_refused(concentration):
    with pytest.raises(InputError, match="positive"):
        Dirichlet(concentration)
