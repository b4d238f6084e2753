"""The averaged weights: their closed form, and that they take turns with the model's."""

import pytest
import torch
from torch import nn

from sciflow.training.ema import EMA


def test_average_is_the_sum_of_decayed_weights() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(1.0)
    ema, expected = EMA(model, 0.5), 1.0
    for step in range(20):
        decay = min(0.5, (1 + step) / (10 + step))  # fades in
        expected = decay * expected + (1 - decay) * (step + 2)
        with torch.no_grad():
            model.weight.fill_(step + 2.0)
        ema.update(step)
    assert float(ema.average[0]) == pytest.approx(expected, rel=1e-14)
    assert expected == pytest.approx(20.0, rel=1e-5)  # of weights that rise by one a step, d/(1−d) = 1 step late


def test_the_model_gets_its_weights_back_even_after_an_error() -> None:
    model = nn.Linear(3, 2)
    ema, before = EMA(model, 0.9), [p.detach().clone() for p in model.parameters()]
    for average in ema.average:
        average.zero_()

    def inside() -> None:
        assert not any(p.any() for p in model.parameters())
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"), ema.applied():
        inside()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert not any(average.any() for average in ema.average)


def test_frozen_weights_are_left_alone() -> None:
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert len(EMA(model, 0.9).average) == 1
