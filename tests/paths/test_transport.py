"""Laws of transport: permutations, the least cost, bounds above it, conditions, and one dimension by sorting."""

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from sciflow.manifolds import SE3, SO3, Euclidean, FlatTorus, Manifold, Product, Sphere, tree_map, wrap
from sciflow.paths import GeodesicCost, Independent, OptimalTransport, Sinkhorn, SortedTransport
from sciflow.paths.auction import auction
from sciflow.paths.potentials import centred, potentials
from sciflow.rng import step_generator

F64 = torch.float64
MANIFOLDS = [
    (Euclidean(3), ()),
    (Euclidean(3, centered=True), (7,)),
    (Euclidean(2), (40,)),
    (Sphere(2), ()),
    (Sphere(3), (2, 3)),
    (FlatTorus(2), (4,)),
    (SO3(), (2,)),
    (SE3(), (2,)),
    (Product(x=Euclidean(3), s=Sphere(1), a=FlatTorus(2)), ()),
]
CIRCLE, LINE = FlatTorus(1), Euclidean(1)


def batch(manifold, n, event=(), seed=0, dtype=F64):
    generator = step_generator(seed)
    return tuple(manifold.random(n, *event, generator=generator, dtype=dtype) for _ in range(2))


def total(cost, coupling, x0, x1, cond=None):
    """Cost of the pairs of a coupling, which keeps every source and every data point exactly once."""
    i0, i1, weight = coupling(x0, x1, cond)
    everything = torch.arange(len(weight))
    assert torch.equal(i0.sort()[0], everything)
    assert torch.equal(i1.sort()[0], everything)
    assert (weight == 1).all()
    return float(cost[i0, i1].double().sum())


def least(cost):
    rows, columns = linear_sum_assignment(cost.double().numpy())
    return float(cost.double()[rows, columns].sum())


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
@pytest.mark.parametrize(("manifold", "event"), MANIFOLDS, ids=str)
def test_squared_distances_are_those_of_all_pairs(manifold, event, dtype):
    """Also between equal points, and at the cut locus, where the cosine alone would lose half of the digits."""
    x, y = batch(manifold, 12, event, dtype=dtype)
    u = manifold.randn_tangent(x, step_generator(3))
    for scale in (0.0, 1e-3, 1.0, 3.0):
        moved = manifold.expmap(x, tree_map(torch.mul, u, tree_map(lambda v, s=scale: torch.full_like(v, s), u)))
        y = tree_map(lambda a, b: torch.cat([a[:6], b[6:]]), moved, y)
        left, right = tree_map(lambda a: a[:, None], x), tree_map(lambda b: b[None, :7], y)
        expected = manifold.dist(left, right).square().reshape(12, 7, -1).sum(-1)
        actual = manifold.squared_distances(x, tree_map(lambda b: b[:7], y))
        tolerance = 1e-5 if dtype == torch.float32 else 1e-13
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * math.prod(event, start=10))


def test_squared_distances_do_not_depend_on_how_they_are_split(monkeypatch):
    for manifold, event in MANIFOLDS:
        x, y = batch(manifold, 9, event)
        whole, generic = manifold.squared_distances(x, y), None
        if not isinstance(manifold, Product):
            generic = Manifold.squared_distances(manifold, x, y)
        with monkeypatch.context() as patch:
            patch.setattr("sciflow.manifolds.pairs._NUMBERS", 100)
            torch.testing.assert_close(manifold.squared_distances(x, y), whole, rtol=0, atol=1e-12)
            if generic is not None:
                torch.testing.assert_close(Manifold.squared_distances(manifold, x, y), generic, rtol=0, atol=0)


@pytest.mark.parametrize("n", [300, 600])
@pytest.mark.parametrize("where", ["alike", "apart", "clustered", "few"])
def test_large_batches_have_the_least_cost_too(where, n):
    generator = step_generator(n)
    x0, x1 = (torch.randn(n, 2, generator=generator, dtype=F64) for _ in range(2))
    index = torch.randint(0, 6, (n,), generator=generator)
    x1 = {"alike": x1, "apart": x1 + 30, "clustered": x1[index] + x1 / 20, "few": x1[index]}[where]
    cost = GeodesicCost(Euclidean(2))(x0, x1)
    assert total(cost, OptimalTransport(lambda *_: cost), x0, x1) == pytest.approx(least(cost), rel=1e-12)


@pytest.mark.parametrize(("manifold", "event"), MANIFOLDS, ids=str)
def test_sinkhorn_tends_to_the_least_cost(manifold, event):
    """Its excess is within ε/10 a pair, and gone with ε: other permutations cost more by a finite amount."""
    x0, x1 = batch(manifold, 60, event)
    cost = GeodesicCost(manifold)(x0, x1)
    best, spread = least(cost), float(centred(cost).std())
    for eps in (1.0, 0.1, 0.01):
        excess = total(cost, Sinkhorn(GeodesicCost(manifold), eps), x0, x1) - best
        assert -1e-9 <= excess <= 60 * eps * spread / 10
    assert total(cost, Sinkhorn(GeodesicCost(manifold), 1e-5), x0, x1) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(("manifold", "event"), [(Euclidean(64), ()), (Sphere(2), (3,)), (SO3(), (3,))], ids=str)
def test_sinkhorn_is_within_five_per_cent_by_default(manifold, event):
    x0, x1 = batch(manifold, 256, event, dtype=torch.float32)
    cost = GeodesicCost(manifold)(x0, x1)
    assert total(cost, Sinkhorn(GeodesicCost(manifold)), x0, x1) <= 1.05 * least(cost)


def test_sinkhorn_with_equal_points():
    """Ties on either side, even of all points, end, and cost no more than the bound."""
    generator = step_generator(0)
    few = torch.randn(5, 2, generator=generator)
    spread_out, crowd = torch.randn(200, 2, generator=generator), few[torch.randint(0, 5, (200,), generator=generator)]
    same = torch.ones(200, 2)
    for x0, x1 in ((spread_out, crowd), (crowd, spread_out), (crowd, crowd.flip(0)), (spread_out, same), (same, same)):
        cost = GeodesicCost(Euclidean(2))(x0, x1)
        excess = total(cost, Sinkhorn(GeodesicCost(Euclidean(2))), x0, x1) - least(cost)
        assert excess <= 200 * 0.01 * float(centred(cost).std()) + 1e-3  # rounding of single precision


def test_potentials_have_uniform_marginals():
    x0, x1 = batch(Sphere(2), 80)
    cost = centred(GeodesicCost(Sphere(2))(x0, x1))
    for eps in (1.0, 0.1, 0.02):
        f, g = potentials(cost, eps)
        plan = ((f[:, None] + g - cost) / eps).exp()
        torch.testing.assert_close(plan.sum(0), torch.ones(80, dtype=F64), rtol=1e-10, atol=0)
        assert (plan.sum(1) - 1).abs().mean() < 0.05


@pytest.mark.parametrize("slack", [1.0, 0.1, 1e-3])
def test_auctions_keep_their_bound_whatever_the_prices(slack):
    generator = step_generator(1)
    cost = torch.rand(50, 50, generator=generator, dtype=F64)
    for prices in (torch.zeros(50, dtype=F64), torch.randn(50, generator=generator, dtype=F64)):
        owner = auction(cost, prices, slack)
        assert torch.equal(owner.sort()[0], torch.arange(50))
        assert float(cost[owner, torch.arange(50)].sum()) <= least(cost) + 50 * slack


@pytest.mark.parametrize("kind", [OptimalTransport, Sinkhorn])
@pytest.mark.parametrize("real", [False, True])
def test_condition_weight_keeps_classes_together(kind, real):
    x0, x1 = batch(Euclidean(3), 300)
    label = torch.arange(300) % 3
    cond = {"label": label.double()[:, None] if real else label}
    cost = GeodesicCost(Euclidean(3))
    kept, free = kind(cost, condition_weight=1e5)(x0, x1, cond), kind(cost)(x0, x1, cond)
    assert (label[kept[0]] == label[kept[1]]).all()
    assert (label[free[0]] != label[free[1]]).any()
    one = [label == c for c in range(3)]
    separate = sum(least(cost(x0[c], x1[c])) for c in one)
    assert float(cost(x0, x1)[kept[:2]].sum()) == pytest.approx(separate, rel=0.02 if kind is Sinkhorn else 1e-9)


def test_a_cost_that_is_not_finite_is_refused():
    x = torch.zeros(3, 2)
    cost = torch.full((3, 3), torch.nan)
    for coupling in (Sinkhorn(lambda *_: cost), OptimalTransport(lambda *_: cost)):
        with pytest.raises(ValueError, match=r"finite|invalid"):
            coupling(x, x)


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("manifold", [LINE, CIRCLE], ids=str)
def test_very_small_batches(manifold, n):
    x0, x1 = batch(manifold, n)
    couplings = (Independent(), OptimalTransport(GeodesicCost(manifold)), SortedTransport(manifold))
    for coupling in (*couplings, Sinkhorn(GeodesicCost(manifold))):
        total(manifold.squared_distances(x0, x1), coupling, x0, x1)


def angles(kind, n, generator):
    """Samples of the circle, some of which put many points in one place, or opposite, or at the seam."""
    x = 2 * math.pi * torch.rand(n, 1, generator=generator, dtype=F64) - math.pi
    corners = torch.tensor([-math.pi / 2, 0.0, math.pi / 2, math.pi], dtype=F64)
    return {
        "uniform": x,
        "clustered": wrap(x / 100 + 3),
        "opposite": wrap(x / 100),
        "tied": corners[torch.randint(0, 4, (n,), generator=generator)][:, None],
        "seam": wrap(math.pi + x.sign() * 1e-9),
        "two": wrap(x / 50 + math.pi * torch.randint(0, 2, (n, 1), generator=generator)),
    }[kind]


KINDS = ["uniform", "clustered", "opposite", "tied", "seam", "two"]


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_sorting_the_circle_has_the_least_cost(source, target):
    generator = step_generator(0)
    for n in (1, 2, 3, 10, 57):
        x0, x1 = angles(source, n, generator), angles(target, n, generator)
        cost = CIRCLE.squared_distances(x0, x1)
        assert total(cost, SortedTransport(CIRCLE), x0, x1) == pytest.approx(least(cost), rel=1e-9, abs=1e-9)


def test_sorting_the_line_has_the_least_cost():
    for n in (1, 5, 200):
        x0, x1 = batch(LINE, n)
        x1 = x1.exp().round(decimals=1)
        cost = LINE.squared_distances(x0, x1)
        assert total(cost, SortedTransport(LINE), x0, x1) == pytest.approx(least(cost), rel=1e-12)


def test_what_has_no_order_is_refused():
    with pytest.raises(ValueError, match="no order"):
        SortedTransport(FlatTorus(2))
    with pytest.raises(ValueError, match="no order"):
        SortedTransport(LINE)(*batch(LINE, 4, (2,)))
    with pytest.raises(ValueError, match="as many sources"):
        SortedTransport(LINE)(torch.zeros(3, 1), torch.zeros(4, 1))
