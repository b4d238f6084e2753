"""Couplings are permutations that labels follow; optimal transport is optimal."""

from itertools import permutations

import pytest
import torch

from sciflow.manifolds import SE3, SO3, Euclidean, FlatTorus, Sphere, tree_map
from sciflow.paths import Alignment, GeodesicCost, Independent, OptimalTransport
from sciflow.rng import normal, step_generator


def clouds(manifold, n, seed=0):
    generator = step_generator(seed)
    return tuple(manifold.random(n, 4, generator=generator, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("manifold", [Euclidean(3), Sphere(2), FlatTorus(2), SO3(), SE3()], ids=str)
def test_transport_has_the_least_cost_of_all_permutations(manifold):
    x0, x1 = clouds(manifold, 5)
    i0, i1, weight = OptimalTransport(GeodesicCost(manifold))(x0, x1)
    square = lambda i, j: manifold.dist(tree_map(lambda x: x[i], x0), tree_map(lambda x: x[j], x1)).square().sum()  # noqa: E731
    best = min(sum(square(i, j) for j, i in enumerate(order)) for order in permutations(range(5)))
    torch.testing.assert_close(square(i0, i1), best)
    assert weight.tolist() == [1.0] * 5


@pytest.mark.parametrize(
    "coupling", [Independent(), OptimalTransport(GeodesicCost(Euclidean(3))), OptimalTransport(Alignment())], ids=str
)
def test_coupling_is_a_permutation_that_conditions_follow(coupling):
    x0, x1 = clouds(Euclidean(3), 12)
    i0, i1, _ = coupling(x0, x1)
    assert sorted(i0.tolist()) == sorted(i1.tolist()) == list(range(12))

    label = x1[:, 0, 0] > 0
    pair = coupling.pair(x0, x1, {"label": label, "x1": x1})
    torch.testing.assert_close(pair.x1, pair.cond["x1"])
    assert (pair.cond["label"] == (pair.x1[:, 0, 0] > 0)).all()


@pytest.mark.parametrize(
    "label", [torch.arange(12) % 3, (torch.arange(12) % 3).double()[:, None]], ids=["class", "real"]
)
def test_condition_weight_keeps_classes_together(label):
    x0, x1 = clouds(Euclidean(3), 12)
    cost = GeodesicCost(Euclidean(3))
    kept = OptimalTransport(cost, condition_weight=1e6)(x0, x1, {"label": label})
    assert (label[kept[0]] == label[kept[1]]).all()
    free = OptimalTransport(cost)(x0, x1, {"label": label})
    assert (label[free[0]] != label[free[1]]).any()
    assert cost(x0, x1)[free[:2]].sum() < cost(x0, x1)[kept[:2]].sum() < cost(x0, x1).diagonal().sum()


def test_aligned_pairs_are_as_close_as_their_cost():
    x0, x1 = clouds(Euclidean(3, centered=True), 8)
    coupling = OptimalTransport(Alignment())
    i0, i1, _ = coupling(x0, x1)
    pair = coupling.pair(x0, x1)
    torch.testing.assert_close((pair.x0 - pair.x1).square().sum((-2, -1)), Alignment()(x0, x1)[i0, i1])


def test_unequal_batches_are_refused():
    x = normal(4, 3, generator=step_generator(0))
    with pytest.raises(ValueError, match="as many sources as data"):
        OptimalTransport(GeodesicCost(Euclidean(3)))(x[:3], x)


def test_padded_clouds_are_refused():
    x0, x1 = clouds(Euclidean(3), 3)
    mask = torch.ones(3, 4, dtype=torch.bool)
    OptimalTransport(Alignment())(x0, x1, {"mask": mask})
    mask[0, -1] = False
    with pytest.raises(ValueError, match="padding"):
        OptimalTransport(Alignment())(x0, x1, {"mask": mask})
