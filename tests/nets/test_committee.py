"""A committee is the mean of its members, and trains each of them as if it were alone with its share of the batch."""

import pytest
import torch

from sciflow.manifolds import SO3, Product, Sphere, tree_map
from sciflow.nets import Committee, MLPField
from sciflow.objectives import FlowMatching
from sciflow.paths import GeodesicPath, Pair

F64 = torch.float64


@pytest.fixture(params=[Sphere(2), Product(q=SO3(), s=Sphere(2))], ids=["sphere", "product"])
def committee(request):
    torch.manual_seed(0)
    return Committee([MLPField(request.param, width=8, depth=1, cond_dim=1) for _ in range(3)]).double()


def state(manifold, n=7):
    g = torch.Generator().manual_seed(0)
    return manifold.random(n, generator=g, dtype=F64), torch.rand(n, generator=g, dtype=F64)


def close(x, y):
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14), x, y)


def test_mean_in_evaluation(committee):
    x, t = state(committee.manifold)
    each = [member.velocity(x, t, c=t) for member in committee.members]
    close(committee.eval().velocity(x, t, c=t), tree_map(lambda *parts: torch.stack(parts).mean(0), *each))


@pytest.mark.parametrize("rows", [7, 2], ids=["uneven shares", "an idle member"])
def test_each_row_is_one_member_s_in_training(committee, rows):
    x, t = state(committee.manifold, rows)
    together = committee.train().velocity(x, t, c=t)
    for k, member in enumerate(committee.members):
        mine = torch.arange(rows)[k::3]
        close(*(tree_map(lambda leaf, i=mine: leaf[i], v) for v in (together, member.velocity(x, t, c=t))))


def test_every_member_is_trained_at_all_times(committee):
    (x0, _), (x1, _) = state(committee.manifold, 30), state(committee.manifold, 30)
    x1 = tree_map(lambda leaf: leaf.flip(0), x1)
    pair = Pair(x0, x1, torch.ones(30, dtype=F64), {"c": torch.ones(30, dtype=F64)})
    FlowMatching()(committee.train(), GeodesicPath(committee.manifold), pair, torch.Generator()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in committee.parameters() if p.requires_grad)


def test_members_of_one_manifold():
    with pytest.raises(ValueError, match="one manifold"):
        Committee([MLPField(Sphere(2)), MLPField(SO3())])
    with pytest.raises(ValueError, match="0 members"):
        Committee([])
