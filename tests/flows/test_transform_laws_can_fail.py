"""The public law test of transforms finds the classical faults, one map each."""

import pytest
import torch

from sciflow.flows import ModuleTransform
from sciflow.testing import assert_transform_laws


class Affine(ModuleTransform):
    """y = e^s x, where the pieces can be replaced by faulty ones."""

    def __init__(self, **faults):
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))
        for name, fault in faults.items():
            setattr(self, name, fault)

    def ladj(self, x):
        return self.log_scale.sum().expand(x.shape[:-1])

    def shift(self, x):
        return torch.zeros_like(x)

    def inverse_ladj(self, y):
        return -self.ladj(y)

    def call_and_ladj(self, x):
        return x * self.log_scale.exp() + self.shift(x), self.ladj(x)

    def inverse_and_ladj(self, y):
        return y * (-self.log_scale).exp(), self.inverse_ladj(y)


X = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def zeros(x):
    return x.new_zeros(x.shape[:-1])


@pytest.mark.parametrize(
    ("faults", "law"),
    [
        ({"shift": lambda x: 1e-6 * x**2}, r"f⁻¹\(f\(x\)\) = x"),
        ({"ladj": zeros, "inverse_ladj": zeros}, r"log\|det ∂f\|"),
        ({"inverse_ladj": lambda y: zeros(y) - 0.2}, r"inverse is −ladj"),
        ({"ladj": lambda x: zeros(x) + 0.1 if x.numel() else zeros(x).sum()}, r"ladj of f of no points"),
    ],
)
def test_a_fault_is_found_and_named(faults, law):
    with pytest.raises(AssertionError, match=law):
        assert_transform_laws(Affine(**faults), X)


def test_an_idle_parameter_is_found():
    transform = Affine()
    transform.idle = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(AssertionError, match="no gradient reaches idle"):
        assert_transform_laws(transform, X)


def test_the_map_itself_obeys_the_laws():
    assert_transform_laws(Affine(), X)
