"""Bellman-optimal grids: no cost on straight paths, the best of all grids, and fewer errors where a field is stiff."""

import math
from itertools import combinations, pairwise

import pytest
import torch

from sciflow.errors import InputError
from sciflow.manifolds import SO3, Euclidean, FlatTorus, Product
from sciflow.nets import FunctionField
from sciflow.paths import Exponential, GeodesicPath, Linear
from sciflow.rng import step_generator
from sciflow.sampling import RK4, Euler, Midpoint, PathEuler, optimal_grid, sample
from sciflow.sampling.optimal_grid import step_costs

F64 = torch.float64


def grid(n):
    return torch.linspace(0, 1, n + 1, dtype=F64)


def curved():
    """A field on frames that depends on place and time, and eight sources."""
    frames = Product(r=Euclidean(3), q=SO3())
    g = step_generator(0)
    weight = torch.randn(13, 6, generator=g, dtype=F64)

    def velocity(x, t):
        seen = torch.cat([x["r"], frames.factors["q"].coordinates(x["q"])], -1)
        u = 2 * torch.sin(seen @ weight + 3 * t[:, None, None])
        return {"r": u[..., :3], "q": u[..., 3:]}

    return FunctionField(frames, velocity), frames.random(8, 2, generator=g, dtype=F64)


@pytest.mark.parametrize("step", [Euler(), Midpoint()])
def test_costs_are_those_of_their_definition(step):
    field, x0 = curved()
    times = grid(6)
    costs = step_costs(field, x0, times, step)
    trajectory = [x0]
    for pair in pairwise(times):
        trajectory.append(sample(field, trajectory[-1], torch.stack(pair), Midpoint()).x)
    for i, j in combinations(range(7), 2):
        end = sample(field, trajectory[i], times[[i, j]], step).x
        torch.testing.assert_close(costs[i, j], field.manifold.dist(end, trajectory[j]).square().sum(1).mean())
    assert costs.tril().isinf().sum() == 28


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
def test_no_grid_is_cheaper(steps):
    """Of all grids among the times of eight steps, on a field that slows down."""
    field, x0 = curved()
    slowing = FunctionField(
        field.manifold, lambda x, t: {k: torch.exp(-4 * t)[:, None, None] * u for k, u in field.velocity(x, t).items()}
    )
    times = grid(8)
    costs = step_costs(slowing, x0, times)

    def price(places):
        return float(sum(costs[i, j] for i, j in pairwise(places)))

    grids = [(0, *inner, 8) for inner in combinations(range(1, 8), steps - 1)]
    found = optimal_grid(slowing, x0, steps, fine=8)
    places = [int((times - t).abs().argmin()) for t in found]
    assert price(places) == pytest.approx(min(map(price, grids)), rel=1e-12)
    if steps == 2:
        assert places[1] < 4


def test_straight_paths_cost_nothing():
    """Flows of constant velocity along geodesics, which differ between the sources."""
    manifold = Product(r=Euclidean(3), q=SO3(), a=FlatTorus(2))
    x0, x1 = (manifold.random(16, 3, generator=step_generator(s), dtype=F64) for s in (0, 1))
    along = manifold.logmap(x0, x1)  # constant in the body frame too
    costs = step_costs(FunctionField(manifold, lambda x, t: along), x0, grid(16))
    assert costs[costs.isfinite()].max() < 1e-24


def test_a_perfect_prediction_costs_nothing_by_steps_of_its_path():
    """Exponential rotations are straight by their own clock, not by t."""
    path = GeodesicPath(Product(r=Euclidean(3), q=SO3()), {"r": Linear(), "q": Exponential(3.0)})
    x0, x1 = (path.manifold.random(8, generator=step_generator(s), dtype=F64) for s in (0, 1))
    schedules = {name: part.schedule for name, part in path.factors.items()}
    along = path.manifold.logmap(x0, x1)

    def velocity(x, t):
        return {k: schedules[k].dkappa(t)[:, None] * along[k] for k in along}

    field, times = FunctionField(path.manifold, velocity), grid(24)
    by_path, by_time = (step_costs(field, x0, times, step)[0, 1:] for step in (PathEuler(path), Euler()))
    assert by_path.max() < 1e-4  # the trajectory's own error, of midpoint steps
    assert by_time.max() > 1


def test_a_stiff_field_is_followed_better():
    """dx/dt = −λ(t) x, λ = 30 e^{−6t}, has x(1) = x(0) exp(−5 (1 − e^{−6})): equal steps are spent where it rests."""
    field = FunctionField(Euclidean(2), lambda x, t: -30 * torch.exp(-6 * t)[:, None] * x)
    x0 = torch.randn(32, 2, generator=step_generator(0), dtype=F64)
    exact = x0 * math.exp(-5 * (1 - math.exp(-6)))
    torch.testing.assert_close(sample(field, x0, grid(2000), RK4()).x, exact, rtol=1e-8, atol=0)
    for steps in (4, 8):
        chosen = optimal_grid(field, x0, steps)
        assert len(chosen) == steps + 1
        assert (chosen[0], chosen[-1]) == (0, 1)
        assert (chosen.diff() > 0).all()
        ours, equal = (float((sample(field, x0, g, Euler()).x - exact).norm()) for g in (chosen, grid(steps)))
        assert ours < equal / 5
        assert chosen[steps // 2] < 0.35


def test_a_field_that_remembers_is_asked_as_in_sampling():
    """The k-th answer is u_k, whatever is asked: c_ij = |Σ_{i ≤ k < j} (u_i − u_k)/F|², in any distance's units."""
    u, answers = torch.tensor([3.0, 1.0, -2.0, 0.5, 4.0], dtype=F64), []

    def velocity(x, t):
        answers.append(float(t[0]))
        return u[len(answers) - 1].expand_as(x)

    field, times = FunctionField(Euclidean(1), velocity), grid(5)
    costs = step_costs(field, torch.zeros(2, 1, dtype=F64), times, along=Euler(), dist=lambda x, y: 3 * (x - y)[:, 0])
    torch.testing.assert_close(torch.tensor(answers, dtype=F64), times[:-1])
    for i, j in combinations(range(6), 2):
        assert float(costs[i, j]) == pytest.approx(9 * float((u[i] - u[i:j]).sum() / 5) ** 2, abs=1e-12)


def test_conditions_and_times_of_ones_own():
    field = FunctionField(Euclidean(1), lambda x, t, rate: -rate[:, None] * t[:, None] * x)
    x0, rate = torch.ones(3, 1, dtype=F64), torch.tensor([1.0, 2.0, 3.0], dtype=F64)
    times = 1 - (1 - grid(12)) ** 2
    chosen = optimal_grid(field, x0, 5, fine=times, cond={"rate": rate})
    assert all(bool((times == t).any()) for t in chosen)
    assert torch.equal(optimal_grid(field, x0, 12, fine=times, cond={"rate": rate}), times)


def test_too_many_steps_are_refused():
    field, x0 = curved()
    for steps in (0, 9):
        with pytest.raises(InputError, match=f"steps={steps}"):
            optimal_grid(field, x0, steps, fine=8)
