"""Shapes in signatures are checked in tests (``addopts`` in pyproject.toml): a wrong one is an error at the call."""

import pytest
import torch
from jaxtyping import TypeCheckError

from sciflow.flows import MixedBase
from sciflow.nets import EGNNField
from sciflow.paths import kabsch


@pytest.mark.parametrize(
    "call",
    [
        lambda: kabsch(torch.zeros(2, 5, 3), torch.zeros(2, 4, 3)),
        lambda: EGNNField().velocity(torch.zeros(2, 5, 3), torch.zeros(3)),
        lambda: MixedBase(torch.tensor([True])).log_prob(torch.zeros(4)),
    ],
    ids=["other points", "other batch", "no batch"],
)
def test_wrong_shapes_are_errors(call):
    with pytest.raises(TypeCheckError):
        call()
