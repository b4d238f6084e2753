"""Rectified flows in closed form: pairs that never cross, and one step of Euler from each source to its end.

The base flows are integrated by steps; pairs are theirs, stored. The rectified field is known: its loss on the pairs is
zero, and that of the base field is not.
"""

import math

import pytest
import torch

from sciflow.manifolds import SO3, Euclidean, FlatTorus, wrap
from sciflow.nets import FunctionField
from sciflow.objectives import FlowMatching
from sciflow.paths import GeodesicCost, GeodesicPath, Independent, OptimalTransport, Reflow
from sciflow.rng import step_generator
from sciflow.sampling import RK4, Euler, sample
from sciflow.training import FieldModel
from sciflow.training.models import Coupler

F64 = torch.float64
KAPPA = 1.5
M = torch.tensor([0.7, -1.2, 0.3], dtype=F64)
A = torch.tensor([[1.1, 0.3, 0.0], [0.0, 0.7, -0.4], [0.2, 0.0, 0.9]], dtype=F64)
S, EYE = A @ A.T, torch.eye(3, dtype=F64)


def grid(n):
    return torch.linspace(0, 1, n + 1, dtype=F64)


def root():
    values, vectors = torch.linalg.eigh(S)
    return (vectors * values.sqrt()) @ vectors.T


def gaussian():
    """N(0, I) → N(m, S) along independent pairs, and its reflow m + (S^½ − I)((1−t)I + tS^½)⁻¹(x − tm)."""

    def base(x, t):
        t = float(t[0])
        gain = (t * S - (1 - t) * EYE) @ torch.linalg.inv((1 - t) ** 2 * EYE + t**2 * S)
        return M + (x - t * M) @ gain.T

    def reflow(x, t):
        t = t[:, None, None]
        back = torch.linalg.solve((1 - t) * EYE + t * root(), (x - t[:, 0] * M)[..., None])
        return M + ((root() - EYE) @ back)[..., 0]

    plane = Euclidean(3)
    x0 = plane.random(40, generator=step_generator(0), dtype=F64)
    return plane, base, reflow, x0, M + x0 @ root()


def turned(angle, t=1.0):
    """Where v = −κ sin x carries an angle: tan(x/2) shrinks by e^{−κt}."""
    return 2 * torch.atan(math.exp(-KAPPA * t) * (angle / 2).tan())


def source(angle, t):
    """The angle x0 of which (1 − t)·x0 + t·turned(x0) is ``angle``, by bisection: it rises with x0, so one pair is at
    each place."""
    low, high = torch.full_like(angle, -math.pi), torch.full_like(angle, math.pi)
    for _ in range(80):
        middle = (low + high) / 2
        above = (1 - t) * middle + t * turned(middle) > angle
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def circle():
    """A flow on the circle towards 0."""

    def reflow(x, t):
        begun = source(x, t[:, None])
        return turned(begun) - begun

    x0 = FlatTorus(1).random(40, generator=step_generator(0), dtype=F64)
    return FlatTorus(1), lambda x, t: -KAPPA * x.sin(), reflow, x0, turned(x0)


def rotations():
    """A flow on SO(3) towards the identity, along the axis of each rotation: the same law for its angle."""
    group = SO3()
    one = group.origin()

    def along(q, rate):
        axis = group.logmap(one, q)
        angle = axis.norm(dim=-1, keepdim=True)
        return rate(angle) * axis / angle

    def reflow(q, t):
        def rate(angle):
            begun = source(angle, t[:, None])
            return turned(begun) - begun

        return along(q, rate)

    q0 = group.random(40, generator=step_generator(0), dtype=F64)
    return group, lambda q, t: along(q, lambda a: -KAPPA * a.sin()), reflow, q0, group.expmap(one, along(q0, turned))


@pytest.fixture(params=[gaussian, circle, rotations])
def flow(request):
    return request.param()


def stored(manifold, base, x0):
    """Pairs as they are stored: of a trained field by many steps."""
    return sample(FunctionField(manifold, base), x0, grid(400), RK4()).x


def gap(manifold, x, y):
    return float(manifold.dist(x, y).max())


def test_pairs_are_those_of_the_closed_form(flow):
    manifold, base, _, x0, x1 = flow
    assert gap(manifold, stored(manifold, base, x0), x1) < 1e-9  # 400 steps of order 4


def test_one_step_of_euler_lands_on_the_stored_end(flow):
    manifold, base, reflow, x0, x1 = flow
    assert gap(manifold, sample(FunctionField(manifold, reflow), x0, grid(1), Euler()).x, x1) < 1e-12
    assert gap(manifold, sample(FunctionField(manifold, base), x0, grid(1), Euler()).x, x1) > 0.1


def test_the_reflow_field_is_what_is_regressed(flow):
    """No pair crosses another, so each is regressed without a rest: the loss is zero, that of the base is not."""
    manifold, base, reflow, x0, x1 = flow
    pair, path = Reflow().pair(x0, x1), GeodesicPath(manifold)
    losses = [FlowMatching()(FunctionField(manifold, f), path, pair, step_generator(1)) for f in (reflow, base)]
    assert losses[0].max() < 1e-18
    assert losses[1].mean() > 0.01


def test_rectified_angles_keep_their_order():
    _, _, _, x0, x1 = circle()
    order = x0[:, 0].argsort()
    for t in (0.3, 0.7, 1.0):
        x_t = x0 + t * wrap(x1 - x0)
        assert (x_t[order, 0].diff() > 0).all()


def test_the_mean_over_crossing_pairs_is_no_such_field():
    """Independent pairs of the same ends do cross: there the best field leaves a loss behind."""
    manifold, _, reflow, x0, x1 = circle()
    crossing = Independent().pair(x0, x1.roll(1, 0))
    loss = FlowMatching()(FunctionField(manifold, reflow), GeodesicPath(manifold), crossing, step_generator(1))
    assert loss.mean() > 0.1


@pytest.mark.parametrize("coupling", [Independent(), OptimalTransport(GeodesicCost(FlatTorus(1)))], ids=str)
def test_sources_that_come_with_the_data_stay(coupling):
    """Neither drawn nor paired anew, whatever the model's coupling, by the loader and by the loss alone."""
    manifold, _, reflow, x0, x1 = circle()
    coupler = Coupler(manifold.prior(), coupling)
    label = torch.arange(40)
    batch = coupler({"x0": x0, "x": x1, "label": label}, step_generator(0))
    assert torch.equal(batch["x0"], x0)
    assert torch.equal(batch["x"], x1)
    assert torch.equal(batch["label"], label)
    assert batch["weight"].tolist() == [1.0] * 40
    drawn = coupler({"x": x1, "label": label}, step_generator(7))
    assert not torch.equal(drawn["x0"], x0)

    field = FunctionField(manifold, lambda x, t: reflow(x, t))
    model = FieldModel(field, GeodesicPath(manifold), coupling, FlowMatching(), manifold.prior())
    assert model.loss({"x0": x0, "x": x1}, step_generator(7)).max() < 1e-18
    assert model.loss({"x": x1}, step_generator(7)).mean() > 0.01


def test_a_pair_lacks_nothing():
    _, _, _, x0, x1 = circle()
    with pytest.raises(ValueError, match="39 sources for 40 data points"):
        Reflow().pair(x0[1:], x1)
