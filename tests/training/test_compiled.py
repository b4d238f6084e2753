"""A compiled flow: traced whole, differentiated ahead, the same weights; a GPU's code generation is left out."""

import subprocess
import sys

import pytest

from sciflow.errors import InputError
from sciflow.manifolds import FlatTorus
from sciflow.nets import MLPField
from sciflow.objectives import FlowMatching
from sciflow.paths import GeodesicPath, Independent
from sciflow.training import FieldModel

# In a process of its own: the shape checks of the test session are not to be traced.
SCRIPT = """
import torch
from functools import partial
from sciflow.boltzmann.losses import SelfImprovement
from sciflow.boltzmann.targets import DoubleWell
from sciflow.flows import MixedBase, NormalizingFlow, spline_couplings
from sciflow.rng import normal, step_generator
from sciflow.training import FlowModel, TensorsDataset, TrainerConfig, fit

traced = []
torch.compile = lambda f, *, fullgraph, compile=torch.compile: (
    traced.append(f.__name__) or compile(f, backend="aot_eager", fullgraph=fullgraph)
)
numbers, x = torch.zeros(2, dtype=torch.bool), normal(64, 2, generator=step_generator(0))
weights = []
for steps, compiled in ((1, False), (8, False), (8, True)):
    flow = NormalizingFlow(MixedBase(numbers), spline_couplings(numbers, 2, 8, 4, depth=1))
    model = FlowModel(flow, DoubleWell(), SelfImprovement())
    fit(model, TensorsDataset({"x": x}), TrainerConfig(steps=steps, batch_size=16, lr=0.01, compile=compiled))
    weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
assert sorted(traced) == ["call_and_ladj", "inverse_and_ladj"]
assert (weights[1] - weights[0]).abs().max() > 1e-3  # it has learnt
torch.testing.assert_close(weights[2], weights[1], atol=1e-5, rtol=0)  # float32, eight steps
"""


def test_a_compiled_flow_learns_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_not_compiled_says_so() -> None:
    manifold = FlatTorus(2)
    field = MLPField(manifold, width=8, depth=1)
    model = FieldModel(field, GeodesicPath(manifold), Independent(), FlowMatching(), manifold.prior())
    with pytest.raises(InputError, match=r"trainer\.compile=true: FieldModel is not compiled"):
        model.compile_for_training()
