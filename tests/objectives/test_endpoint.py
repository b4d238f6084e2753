"""Endpoint matching: flow matching below the clip, bounded beyond it, a gradient wherever there is an error."""

import pytest
import torch

from sciflow.manifolds import SO3, Euclidean, FlatTorus, Product, Simplex, Sphere, scale
from sciflow.nets import Field
from sciflow.objectives import EndpointMatching, FlowMatching, endpoint_errors
from sciflow.paths import Exponential, GeodesicPath, Linear, Pair
from sciflow.rng import step_generator

F64 = torch.float64
PATHS = {
    "euclidean": GeodesicPath(Euclidean(2)),
    "sphere": GeodesicPath(Sphere(2)),
    "simplex": GeodesicPath(Simplex(4)),
    "product": GeodesicPath(Product(r=Euclidean(3), q=SO3(), a=FlatTorus(2))),
}


class Guess(Field):
    """Predicts one state, whatever it sees; its velocity is that of the path to it."""

    def __init__(self, path, guess):
        super().__init__(path.manifold)
        self.path, self.guess = path, guess

    def denoise(self, x, t, **cond):
        return self.guess

    def velocity(self, x, t, **cond):
        return self.path.velocity(self.guess, x, t)


def states(manifold, n=6, count=3):
    return [manifold.random(n, 4, generator=step_generator(seed), dtype=F64) for seed in range(count)]


def ones(n=6):
    return torch.ones(n, dtype=F64)


@pytest.fixture(params=PATHS)
def path(request):
    return PATHS[request.param]


def early(u):
    return 0.9 * u


def test_flow_matching_below_the_clip(path):
    x0, x1, guess = states(path.manifold)
    pair = Pair(x0, x1, torch.arange(6, dtype=F64), {})
    expected = FlowMatching(time=early)(Guess(path, guess), path, pair, step_generator(9))
    loss = EndpointMatching(time=early)(Guess(path, guess), path, pair, step_generator(9))
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)  # both divide by 1 − t
    assert (loss[1:] > 0).all()


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


def test_weights_are_of_factors_and_masks_of_points():
    path = PATHS["product"]
    x0, x1, guess = states(path.manifold)
    pair = Pair(x0, x1, ones(), {"mask": torch.arange(4) < torch.arange(6)[:, None]})
    drawn = path.sample(x0, x1, torch.zeros(6, dtype=F64))
    errors = endpoint_errors(path, drawn, guess)
    expected = ((2 * errors["r"] + 0.5 * errors["q"] + errors["a"]) * pair.cond["mask"]).sum(-1)
    objective = EndpointMatching({"r": 2.0, "q": 0.5}, time=torch.zeros_like)
    torch.testing.assert_close(objective(Guess(path, guess), path, pair, step_generator(0)), expected)


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


def test_conditions_reach_the_field():
    path = GeodesicPath(Euclidean(1))
    seen = {}

    class Told(Guess):
        def denoise(self, x, t, **cond):
            seen.update(cond)
            return x

    x = torch.zeros(3, 1, dtype=F64)
    pair = Pair(x, x, ones(3), {"label": torch.tensor([1.0, 2.0, 3.0])})
    assert EndpointMatching()(Told(path, x), path, pair, step_generator(0)).max() == 0
    assert seen["label"].tolist() == [1.0, 2.0, 3.0]
