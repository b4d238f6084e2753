"""Flow matching: its zero, its norm, its weights and its minimiser."""

import math

import pytest
import torch

from sciflow.manifolds import SO3, Euclidean, FlatTorus, Product, Sphere, tree_map
from sciflow.nets import FunctionField, MLPField
from sciflow.objectives import FlowMatching
from sciflow.paths import GeodesicPath, Pair

F64 = torch.float64
MANIFOLDS = {
    "euclidean": Euclidean(2),
    "centered": Euclidean(3, centered=True),
    "sphere": Sphere(2),
    "torus": FlatTorus(2),
    "so3": SO3(),
    "product": Product(r=Euclidean(3), q=SO3(), s=Sphere(2), a=FlatTorus(2)),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=MANIFOLDS)
def manifold(request):
    return MANIFOLDS[request.param]


def pair_on(manifold, n=4):
    x0, x1 = (manifold.random(n, 3, generator=generator(seed), dtype=F64) for seed in (1, 2))
    return Pair(x0, x1, torch.ones(n, dtype=F64), {})


def test_zero_at_the_conditional_field(manifold):
    """With one datum the target is the field log_x(x1)/(1 − t)."""
    pair, path = pair_on(manifold), GeodesicPath(manifold)
    field = FunctionField(manifold, lambda x, t: path.velocity(pair.x1, x, t))
    assert FlowMatching()(field, path, pair, generator()).max() < 1e-20


def test_norm_at_the_point_is_summed_over_the_event(manifold):
    """A still field pays the squared length of the geodesics."""
    pair, path = pair_on(manifold), GeodesicPath(manifold)
    still = FunctionField(manifold, lambda x, t: tree_map(torch.zeros_like, manifold.logmap(x, pair.x1)))
    expected = manifold.dist(pair.x0, pair.x1).square().sum(-1)
    torch.testing.assert_close(FlowMatching()(still, path, pair, generator()), expected, rtol=1e-10, atol=0)


def test_noise_goes_round_the_data(manifold):
    """From the data to the data, a path of zero length ends a kernel away: E d² = σ² dim, all other moments known."""
    x, sigma = manifold.random(4000, generator=generator(), dtype=F64), 0.1
    still = FunctionField(manifold, lambda x, t: tree_map(torch.zeros_like, manifold.logmap(x, x)))
    weight = torch.ones(4000, dtype=F64)
    squares = FlowMatching(noise=sigma)(still, GeodesicPath(manifold), Pair(x, x, weight, {}), generator(1)) / sigma**2
    assert float(squares.mean() - manifold.dim) == pytest.approx(0, abs=4 * math.sqrt(2 * manifold.dim / 4000))
    assert float(squares.var() / (2 * manifold.dim)) == pytest.approx(1, abs=0.25)


def test_weights_are_per_sample(manifold):
    torch.manual_seed(0)
    field = MLPField(manifold, (3,), width=8, depth=1).double()
    pair, path = pair_on(manifold), GeodesicPath(manifold)
    weight = torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=F64)
    plain = FlowMatching()(field, path, pair, generator())
    weighted = FlowMatching()(field, path, Pair(pair.x0, pair.x1, weight, {}), generator())
    assert plain.shape == (4,)
    torch.testing.assert_close(weighted, weight * plain, rtol=1e-14, atol=0)


def test_gradient_vanishes_at_the_gaussian_marginal_field():
    """Every perturbation A x + b of E[u | x_t] has zero slope; of a field off by 10 % it has not."""
    n, m, spread = 20_000, torch.tensor([0.5, -1.0], dtype=F64), torch.tensor([0.6, 1.4], dtype=F64)
    x0 = torch.randn(n, 2, generator=generator(1), dtype=F64)
    x1 = m + spread * torch.randn(n, 2, generator=generator(2), dtype=F64)
    pair, path = Pair(x0, x1, torch.ones(n, dtype=F64), {}), GeodesicPath(Euclidean(2))

    def z_scores(factor):
        matrix, shift = (
            torch.zeros(n, 2, 2, dtype=F64, requires_grad=True),
            torch.zeros(n, 2, dtype=F64, requires_grad=True),
        )

        def velocity(x, t):
            t = t[:, None]
            exact = m + (t * spread**2 - (1 - t)) / ((1 - t) ** 2 + (t * spread) ** 2) * (x - t * m)
            return factor * exact + (matrix @ x[..., None])[..., 0] + shift

        loss = FlowMatching()(FunctionField(Euclidean(2), velocity), path, pair, generator(3)).sum()
        slopes = torch.cat([g.flatten(1) for g in torch.autograd.grad(loss, (matrix, shift))], -1)  # one a sample
        return slopes.mean(0) / slopes.std(0) * math.sqrt(n)

    assert z_scores(1.0).abs().max() < 4
    assert z_scores(1.1).abs().max() > 8


def test_conditions_reach_the_field():
    x = torch.zeros(3, 1, dtype=F64)
    pair = Pair(x, x, torch.ones(3, dtype=F64), {"label": torch.tensor([1.0, 2.0, 3.0], dtype=F64)})
    field = FunctionField(Euclidean(1), lambda x, t, label: label[:, None] + 0 * x)
    loss = FlowMatching()(field, GeodesicPath(Euclidean(1)), pair, generator())
    torch.testing.assert_close(loss, pair.cond["label"] ** 2)


def test_time_law():
    """``time`` reshapes uniform draws: its identity is the default, and it decides which times are seen."""
    pair, path = pair_on(Euclidean(2), 500), GeodesicPath(Euclidean(2))
    seen = []
    field = FunctionField(Euclidean(2), lambda x, t: seen.append(t) or 0 * x)
    FlowMatching()(field, path, pair, generator())
    FlowMatching(time=torch.sqrt)(field, path, pair, generator())
    torch.testing.assert_close(seen[1], seen[0].sqrt())
    assert seen[1].mean() == pytest.approx(2 / 3, abs=4 * math.sqrt(1 / 18 / 500))  # density 2t, variance 1/18


def test_padding_costs_nothing():
    pair = pair_on(Euclidean(3), 2)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    field = FunctionField(Euclidean(3), lambda x, t, mask: 0 * x)
    masked = Pair(pair.x0, pair.x1, pair.weight, {"mask": mask})
    expected = ((pair.x1 - pair.x0).square().sum(-1) * mask).sum(-1)
    torch.testing.assert_close(FlowMatching()(field, GeodesicPath(Euclidean(3)), masked, generator()), expected)
