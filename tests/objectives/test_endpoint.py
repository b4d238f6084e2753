"""Errors of endpoints: flow matching below the clip, bounded beyond it, a gradient wherever there is an error."""

import pytest
import torch
from torch import Tensor

from sciflow.manifolds import SO3, Euclidean, FlatTorus, Product, Simplex, Sphere, scale, tree_map
from sciflow.objectives import endpoint_errors
from sciflow.paths import Exponential, GeodesicPath, Linear
from sciflow.rng import step_generator

F64 = torch.float64
PATHS = {
    "euclidean": GeodesicPath(Euclidean(2)),
    "sphere": GeodesicPath(Sphere(2)),
    "simplex": GeodesicPath(Simplex(4)),
    "product": GeodesicPath(Product(r=Euclidean(3), q=SO3(), a=FlatTorus(2))),
}


def states(manifold, n=6, count=3):
    return [manifold.random(n, 4, generator=step_generator(seed), dtype=F64) for seed in range(count)]


@pytest.fixture(params=PATHS)
def path(request):
    return PATHS[request.param]


def test_flow_matching_below_the_clip(path):
    x0, x1, guess = states(path.manifold)
    t = 0.9 * torch.arange(6, dtype=F64) / 6
    drawn = path.sample(x0, x1, t)
    off = tree_map(Tensor.sub, path.velocity(guess, drawn.x_t, t), drawn.u_t)
    expected = path.manifold.inner(drawn.x_t, off, off)
    errors = sum(endpoint_errors(path, drawn, guess).values())
    torch.testing.assert_close(errors, expected, rtol=1e-9, atol=1e-12)  # both divide by 1 − t
    assert (errors > 0).all()


def test_the_clock_of_a_factor_is_its_schedule():
    """By κ instead of t: below the clip the velocity's error is κ̇ times that by κ."""
    schedule = Exponential(2.0)
    path = GeodesicPath(SO3(), schedule)
    x0, x1, guess = states(path.manifold)
    t = torch.full((6,), 0.3, dtype=F64)
    drawn = path.sample(x0, x1, t)
    off = path.velocity(guess, drawn.x_t, t) - drawn.u_t
    expected = scale(schedule.dkappa(t) ** -2, off.square().sum(-1))
    torch.testing.assert_close(endpoint_errors(path, drawn, guess)["x"], expected)


def test_beyond_the_clip_an_error_weighs_no_more():
    path = GeodesicPath(Euclidean(2))
    x0, x1, guess = states(path.manifold)
    for t in (0.95, 1.0):
        drawn = path.sample(x0, x1, torch.full((6,), t, dtype=F64))
        errors = endpoint_errors(path, drawn, guess, clip=0.8)["x"]
        torch.testing.assert_close(errors, (guess - x1).square().sum(-1) / 0.2**2)


@pytest.mark.parametrize("t", [0.1, 0.6, 0.999])
def test_a_gradient_wherever_there_is_an_error(t):
    """2|e|/(1 − κ)² at least, e the error of the logarithm: the derivative of log stretches, on flat space not even."""
    path = GeodesicPath(
        Product(r=Euclidean(3), q=SO3(), a=FlatTorus(1)), {"r": Linear(), "q": Exponential(10.0), "a": Linear()}
    )
    x0, x1, guess = states(path.manifold, n=200)
    guess["r"] = 1e3 * guess["r"]  # metres off
    drawn = path.sample(x0, x1, torch.full((200,), t, dtype=F64))
    moved = {
        k: torch.zeros(200, 4, *shape, dtype=F64).requires_grad_() for k, shape in path.manifold.tangent_shape.items()
    }
    errors = endpoint_errors(path, drawn, path.manifold.expmap(guess, moved))
    slopes = torch.autograd.grad(sum(e.sum() for e in errors.values()), list(moved.values()))
    for (name, error), slope in zip(errors.items(), slopes, strict=True):
        ahead = 1 - path.factors[name].schedule.kappa(drawn.t).clamp_max(0.9)
        least = 2 * error.detach().sqrt() / ahead[:, None]
        assert (slope.norm(dim=-1) >= least * (1 - 1e-9)).all()
    torch.testing.assert_close(slopes[0].norm(dim=-1), 2 * errors["r"].detach().sqrt() / ahead[:, None])


def test_what_is_not_counted_is_predicted():
    path = PATHS["product"]
    x0, x1, guess = states(path.manifold)
    counted = torch.arange(2) == 0
    hidden = guess | {"a": torch.where(counted, guess["a"], x1["a"])}
    drawn = path.sample(x0, x1, torch.zeros(6, dtype=F64))
    off = FlatTorus(2).logmap(x0["a"], guess["a"]) - FlatTorus(2).logmap(x0["a"], x1["a"])
    torch.testing.assert_close(endpoint_errors(path, drawn, hidden)["a"], off[..., 0].square())
