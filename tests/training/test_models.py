"""What both kinds of model owe the pipeline: densities that agree, samples that do not see their batch."""

import math

import pytest
import torch
from torch.distributions import AffineTransform

from sciflow.errors import InputError
from sciflow.flows import NormalizingFlow
from sciflow.manifolds import Euclidean, FlatTorus, Product
from sciflow.nets import FunctionField, MLPField
from sciflow.objectives import FlowMatching
from sciflow.paths import GeodesicCost, GeodesicPath, Independent, OptimalTransport
from sciflow.rng import sample_generators, step_generator
from sciflow.training import FieldModel, FlowModel


def _field_model(manifold: object, event_shape: tuple[int, ...] = ()) -> FieldModel:
    net = MLPField(manifold, event_shape=event_shape, width=8, depth=1).double()
    return FieldModel(net, GeodesicPath(manifold), Independent(), FlowMatching(), manifold.prior(), event_shape)


@pytest.mark.parametrize("manifold", [Euclidean(2), FlatTorus(2), Product(a=Euclidean(1), b=FlatTorus(1))])
@pytest.mark.parametrize("event_shape", [(), (3,)])
def test_a_sample_does_not_depend_on_its_batch(manifold: object, event_shape: tuple[int, ...]) -> None:
    model = _field_model(manifold, event_shape)
    whole = model.sample(6, generator=sample_generators(0, 0, 6), steps=3, track_logq=True)
    parts = [model.sample(3, generator=sample_generators(0, i, 3), steps=3, track_logq=True) for i in (0, 3)]
    torch.testing.assert_close(torch.cat([p.logq for p in parts]), whole.logq)  # rounding in float64
    for name in whole.x if isinstance(whole.x, dict) else [None]:
        pick = (lambda x: x) if name is None else (lambda x, name=name: x[name])
        torch.testing.assert_close(torch.cat([pick(p.x) for p in parts]), pick(whole.x))


def test_tracked_density_is_that_of_the_samples() -> None:
    model = _field_model(Euclidean(2))
    drawn = model.sample(5, generator=step_generator(0), steps=1, step="dopri5", track_logq=True)
    # both ways have a tolerance of 1e-5, which the fast waves in time of an untrained network exceed a hundredfold
    torch.testing.assert_close(model.log_prob(drawn.x), drawn.logq, atol=2e-3, rtol=0)


def test_a_field_in_closed_form_is_a_model() -> None:
    plane = Euclidean(2)
    field = FunctionField(plane, lambda x, t: x)
    model = FieldModel(field, GeodesicPath(plane), Independent(), FlowMatching(), plane.prior())
    drawn = model.sample(5, generator=step_generator(0), track_logq=True)
    torch.testing.assert_close(drawn.logq, model.log_prob(drawn.x), atol=1e-3, rtol=0)  # midpoint, 50 steps


def test_loss_is_named_by_its_generator() -> None:
    plane = Euclidean(2)
    model = _field_model(plane)
    model.coupling = OptimalTransport(GeodesicCost(plane))
    batch = {"x": plane.random(7, generator=step_generator(1), dtype=torch.double)}
    first, again, other = (model.loss(batch, step_generator(seed)) for seed in (2, 2, 3))
    assert first.shape == (7,)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_unknown_steps_name_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=r"sampler\.step='heun' is not a step: use one of euler, midpoint, rk4, dopri5, path"
    ):
        _field_model(Euclidean(2)).sample(1, step="heun")


def test_a_flow_is_trained_by_maximum_likelihood() -> None:
    class Scale(AffineTransform):
        def call_and_ladj(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self(x)
            return y, self.log_abs_det_jacobian(x, y)

    model = FlowModel(NormalizingFlow(Euclidean(2).prior(), Scale(0.0, 0.5, event_dim=1)))
    x = torch.randn(4, 2, generator=step_generator(0), dtype=torch.double)
    # z = x/2: the density of N(0, 4) in two dimensions
    expected = 0.5 * (x / 2).square().sum(-1) + math.log(2 * math.pi * 4)
    torch.testing.assert_close(model.loss({"x": x}, step_generator(0)), expected)
    torch.testing.assert_close(model.log_prob(x), -expected)


def test_a_flow_does_not_pass_over_conditions() -> None:
    model = FlowModel(NormalizingFlow(Euclidean(1).prior(), AffineTransform(0.0, 1.0)))
    x, label = torch.zeros(2, 1), torch.ones(2)
    for call in (
        lambda: model.loss({"x": x, "label": label}, step_generator(0)),
        lambda: model.sample(2, {"label": label}),
        lambda: model.log_prob(x, {"label": label}),
    ):
        with pytest.raises(InputError, match="label"):
            call()
