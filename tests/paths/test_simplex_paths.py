"""Every path to letters: ends, flow, density and posterior of one and the same process on the simplex."""

import math
from itertools import pairwise

import pytest
import torch

from sciflow.manifolds import Dirichlet
from sciflow.nets import FunctionField
from sciflow.paths import (
    Cosine,
    DirichletPath,
    FisherPath,
    GeodesicCost,
    GumbelSoftmaxPath,
    LinearSimplexPath,
    LogitPath,
    OptimalTransport,
    vertices,
)
from sciflow.rng import categorical, sample_generators, step_generator
from sciflow.sampling import Dopri5, log_prob

FIXED = [  # given x0, and with an `advance` that is exact for a posterior that stays (Fisher: if it is certain)
    LinearSimplexPath(4),
    LinearSimplexPath(5, Cosine()),
    GumbelSoftmaxPath(4),
    FisherPath(4),
    FisherPath(5, Cosine()),
    LogitPath(4),
]
PATHS = [*FIXED, DirichletPath(4), DirichletPath(20)]
F64 = torch.float64


def name(path):
    return f"{type(path).__name__}-{path.k}"


def ends(path, n=16, sites=5):
    generator = step_generator(0)
    x0 = path.prior.sample(n, sites, generator=generator, dtype=F64)
    return x0, torch.randint(path.k, (n, sites), generator=generator)


def posterior(path, n=16, sites=5):
    return Dirichlet((0.5,) * path.k).sample(n, sites, generator=step_generator(1), dtype=F64)


def follow(path, p, x, grid):
    for t, s in pairwise(grid):
        x = path.advance(p, x, t.expand(len(x)), s.expand(len(x)))
    return x


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_it_joins_noise_and_letters(path):
    x0, x1 = ends(path)
    start, end = (path.sample(x0, x1, torch.full((16,), t, dtype=F64), step_generator(2)) for t in (0.0, 1.0))
    torch.testing.assert_close(start.x_t, x0, atol=1e-14, rtol=0)
    # the bits of LogitPath end 1e-6 short for logits that are level, and noise is not
    torch.testing.assert_close(end.x_t, vertices(x1, path.k, F64), atol=1e-4, rtol=0)
    assert all(sample.u_t.isfinite().all() for sample in (start, end))


@pytest.mark.parametrize("path", FIXED, ids=name)
def test_target_is_the_derivative_of_the_point(path):
    x0, x1 = ends(path)
    t = torch.linspace(0.0, 0.95, 16, dtype=F64)
    point = path.sample(x0, x1, t)
    derivative = torch.func.jvp(lambda s: path.sample(x0, x1, s).x_t, (t,), (torch.ones_like(t),))[1]
    torch.testing.assert_close(path.manifold.embed(point.x_t, point.u_t), derivative, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(path.velocity(vertices(x1, path.k, F64), point.x_t, t), point.u_t, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_field_carries_the_prior_along_the_conditional_densities(path):
    x0, x1 = ends(path, 8, 1)
    t = torch.full((8,), 0.4, dtype=F64)
    x_t = path.sample(x0, x1, t, step_generator(2)).x_t
    field = FunctionField(path.manifold, lambda x, t: path.velocity(vertices(x1, path.k, F64), x, t))
    carried = log_prob(field, x_t, path.prior, step=Dopri5(1e-8, 1e-10), grid=torch.tensor([0.4, 0.0], dtype=F64))
    expected = path.log_conditional(x_t, t).gather(-1, x1[..., None])[:, 0, 0]
    torch.testing.assert_close(carried, expected, atol=1e-4, rtol=0)  # cells of DirichletRate: divergences to 1e-5


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_velocity_is_the_mean_of_the_conditional_ones_and_the_rate_of_advance(path):
    x0, x1 = ends(path)
    t = torch.linspace(0.05, 0.9, 16, dtype=F64)
    x, p = path.sample(x0, x1, t, step_generator(2)).x_t, posterior(path)
    velocity = path.velocity(p, x, t)
    each = torch.stack([path.velocity(e.expand_as(x), x, t) for e in torch.eye(path.k, dtype=F64)])
    torch.testing.assert_close(velocity, torch.einsum("bli,iblk->blk", p, each), atol=1e-11, rtol=1e-11)
    rate = torch.func.jvp(lambda s: path.advance(p, x, t, s), (t,), (torch.ones_like(t),))[1]
    torch.testing.assert_close(rate, path.manifold.embed(x, velocity), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_advance_composes(path):
    x, p = ends(path)[0], posterior(path)
    certain = vertices(p.argmax(-1), path.k, F64)
    grid = torch.tensor([0.2, 0.22, 0.25], dtype=F64)
    order2 = isinstance(path, DirichletPath)
    for q, exact in ((p, not isinstance(path, FisherPath | DirichletPath)), (certain, not order2)):
        apart = (follow(path, q, x, grid) - follow(path, q, x, grid[::2])).abs().max()
        # else the error of a step h = 0.05: h³ of order 2 (times α_max, a second derivative), h² of order 1
        assert apart < (1e-12 if exact else 1e-3)


@pytest.mark.parametrize("path", [*PATHS, GumbelSoftmaxPath(4, "published")], ids=name)
def test_mass_is_kept_and_faces_and_vertices_are_harmless(path):
    x = Dirichlet((0.05,) * path.k).sample(24, 6, generator=step_generator(3), dtype=F64)
    x[:, 0] = torch.eye(path.k, dtype=F64)[torch.arange(24) % path.k]
    x[:, 1] = torch.tensor([0.5, 0.5] + [0.0] * (path.k - 2), dtype=F64)
    p = posterior(path, 24, 6)
    p[::3] = torch.eye(path.k, dtype=F64)[1]
    times = torch.tensor([0.0, 0.3, 0.999, 1.0], dtype=F64).repeat(6)
    for s in (times, (times + 0.2).clamp_max(1), torch.ones_like(times)):
        moved = path.advance(p, x, times, s)
        assert (moved.sum(-1) - 1).abs().max() < 1e-12
        assert moved.min() >= -1e-15  # x + r (p − x) with r = 1 to rounding
    x.requires_grad_()
    velocity = path.velocity(p, x, times)
    (gradient,) = torch.autograd.grad(velocity.square().sum(), x)
    exact = path.log_conditional(x, times).softmax(-1)
    assert velocity.isfinite().all()
    assert exact.isfinite().all()
    assert not gradient.isnan().any()


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_a_certain_posterior_ends_on_its_vertex(path):
    x0, x1 = ends(path, 200)
    t, one = torch.linspace(0, 0.99, 200, dtype=F64), torch.ones(200, dtype=F64)
    x = path.sample(x0, x1, t, step_generator(2)).x_t
    end = vertices(x1, path.k, F64)
    torch.testing.assert_close(path.advance(end, x, t, one), end, atol=1e-4, rtol=0)


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_exact_posteriors_lead_to_the_law_of_the_letters(path):
    weights = torch.arange(1, path.k + 1, dtype=F64)
    weights = weights / weights.sum()
    x = path.prior.sample(10, 1000, generator=step_generator(4), dtype=F64)
    grid = torch.linspace(0, 1, 41, dtype=F64)
    for t, s in pairwise(grid[:, None].expand(-1, 10)):
        x = path.advance((path.log_conditional(x, t) + weights.log()).softmax(-1), x, t, s)
    letters = categorical(x, step_generator(5)).flatten()
    found = letters.bincount(minlength=path.k) / letters.numel()
    assert (found - weights).abs().sum() / 2 < 3 / math.sqrt(letters.numel())


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_a_sample_depends_on_its_own_generator(path):
    def draw(start, n):
        generators = sample_generators(0, start, n)
        x0 = path.prior.sample(n, 3, generator=generators, dtype=torch.float32)
        x1, t = torch.zeros(n, 3, dtype=torch.long), torch.linspace(0.1, 0.9, 4)[start : start + n]
        sample = path.sample(x0, x1, t, generators)
        return sample.x_t, sample.u_t, path.advance(sample.x_t, sample.x_t, t, t + 0.1), path.log_conditional(x0, t)

    whole, part = draw(0, 4), draw(2, 2)
    for a, b in zip(whole, part, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a[2:], b, atol=1e-6, rtol=1e-5)


def test_published_gumbel_path_is_not_the_flow_of_its_field():
    path = GumbelSoftmaxPath(20, "published")
    x0 = path.prior.sample(20, 1000, generator=step_generator(0), dtype=F64)
    x1, t = torch.zeros(20, 1000, dtype=torch.long), torch.linspace(0, 1, 20, dtype=F64)
    sample = path.sample(x0, x1, t)
    derivative = torch.func.jvp(lambda s: path.sample(x0, x1, s).x_t, (t,), (torch.ones_like(t),))[1]
    assert (sample.u_t - derivative).abs().mean() > 0.1 * derivative.abs().mean()
    leads = (sample.x_t.argmax(-1) == 0).double().mean()
    expected = math.exp(2) / (math.exp(2) + 19)
    assert abs(leads - expected) < 4 * math.sqrt(expected / 20000)
    flowed = path.advance(vertices(x1, 20, F64), x0, 0 * t, 0 * t + 1)
    assert (flowed.argmax(-1) == 0).all()


@pytest.mark.parametrize("k", [4, 20])
def test_published_gumbel_path_misses_the_law_of_the_letters(k):
    weights = torch.arange(1, k + 1, dtype=F64)
    weights = weights / weights.sum()
    path = GumbelSoftmaxPath(k, "published")
    x = path.prior.sample(10, 1000, generator=step_generator(4), dtype=F64)
    grid = torch.linspace(0, 1, 41, dtype=F64)
    for t, s in pairwise(grid[:, None].expand(-1, 10)):
        x = path.advance((path.log_conditional(x, t) + weights.log()).softmax(-1), x, t, s)
    found = x.argmax(-1).flatten().bincount(minlength=k) / 10000
    assert (found - weights).abs().sum() / 2 > 3 / math.sqrt(10000)


def test_fisher_sources_are_transported_to_letters():
    path = FisherPath(5)
    x0, x1 = ends(path, 32, 6)
    points = vertices(x1, 5, F64)
    torch.testing.assert_close(path.cost(x0, x1), path.manifold.squared_distances(x0, points), atol=1e-10, rtol=1e-10)
    to_tokens, to_points = (OptimalTransport(c) for c in (path.cost, GeodesicCost(path.manifold)))
    pair = to_tokens.pair(x0, x1)
    assert (pair.x0 == to_points.pair(x0, points).x0).all()
    assert (pair.x1 == x1).all()
    assert path.cost(pair.x0, pair.x1).trace() < 0.8 * path.cost(x0, x1).trace()


@pytest.mark.parametrize("wrong", [{"tau_max": 0.0}, {"rate": -1.0}, {"beta": -2.0}])
def test_a_gumbel_path_of_no_temperature_is_refused(wrong):
    with pytest.raises(ValueError, match="all are positive"):
        GumbelSoftmaxPath(3, **wrong)


def test_bits_of_no_scale_are_refused():
    with pytest.raises(ValueError, match="positive"):
        LogitPath(3, scale=0.0)
