"""Residual flows: a contraction whatever the weights, an unbiased log-determinant."""

import math

import pytest
import torch
from torch import Tensor

from sciflow.flows import (
    Composed,
    MixedBase,
    NormalizingFlow,
    ResidualBlock,
    estimate_log_prob,
    residual,
    residual_blocks,
)
from sciflow.rng import step_generator

GENERATOR = step_generator(0)


def strained(block: torch.nn.Module, scale: float) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in block.double().parameters():
            parameter += scale * torch.randn(parameter.shape, generator=GENERATOR, dtype=parameter.dtype)
    return block


def test_the_residual_contracts_whatever_the_weights() -> None:
    block = strained(ResidualBlock(4, 32, lipschitz=0.9), 3.0)
    x, y = torch.randn(2, 2000, 4, generator=GENERATOR, dtype=torch.float64)
    y = x + (y - x) * torch.logspace(-4, 1, 2000, dtype=torch.float64)[:, None]
    change = torch.linalg.vector_norm(block(x) - x - (block(y) - y), dim=-1) / torch.linalg.vector_norm(x - y, dim=-1)
    assert change.max() <= 0.9


def test_the_bound_is_that_of_its_layers() -> None:
    """Layers of one direction, activations in their linear part: the slope is L, over 1.1 at each activation."""
    block = ResidualBlock(4, 4, lipschitz=0.9).double()
    with torch.no_grad():
        for layer in block.layers:
            layer.weight.copy_(100 * torch.eye(4))
            layer.bias.zero_()
    x = torch.full((4,), 1e4, dtype=torch.float64)
    torch.testing.assert_close(block(x) - x, 0.9 / 1.1**2 * x)


def test_density_integrates_to_one() -> None:
    flow = strained(NormalizingFlow(MixedBase(torch.zeros(2, dtype=torch.bool)), residual_blocks(2, 3, 16)), 0.5)
    line = torch.linspace(-25, 25, 251, dtype=torch.float64)
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(line, line)).exp()
    assert (density.sum() * (line[1] - line[0]) ** 2).item() == pytest.approx(1, abs=1e-6)  # of a smooth density


def test_a_sample_carries_its_density_and_both_can_be_differentiated_twice() -> None:
    flow = strained(NormalizingFlow(MixedBase(torch.zeros(3, dtype=torch.bool)), residual_blocks(3, 2, 16)), 0.5)
    x, logq = flow.sample(5, generator=step_generator(1))
    torch.testing.assert_close(flow.log_prob(x), logq, atol=1e-10, rtol=0)
    x = x.detach().requires_grad_()
    for f in (flow.log_prob, lambda z: flow.transform.inv.call_and_ladj(z)):
        assert torch.autograd.gradcheck(f, x, fast_mode=True)
        assert torch.autograd.gradgradcheck(f, x, fast_mode=True)


def test_roulette_is_unbiased_in_value_and_gradient() -> None:
    stack = residual_blocks(3, 2, 16)
    flow = strained(NormalizingFlow(MixedBase(torch.zeros(3, dtype=torch.bool)), Composed(stack)), 0.5)
    x = torch.randn(1, 3, generator=GENERATOR, dtype=torch.float64)
    parameter = stack.transforms[0].layers[1].bias

    def value_and_gradient(log_prob: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(log_prob.mean(), parameter)
        return torch.cat((log_prob.mean()[None], gradient)).detach()

    exact = value_and_gradient(flow.log_prob(x))
    # Each call draws its own numbers of terms; within it, directions are averaged.
    draws = torch.stack(
        [value_and_gradient(estimate_log_prob(flow, x.expand(256, -1), step_generator(2, n))) for n in range(200)]
    )
    error = draws.std(0) / math.sqrt(len(draws))
    assert 0 < error[0] < 0.01
    assert ((draws.mean(0) - exact).abs() < 4.5 * error).all()  # 17 numbers, some of heavy tails


@pytest.mark.parametrize("lipschitz", [0.5, 0.9, 0.97])
def test_rare_terms_of_the_roulette_stay_bounded(lipschitz: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are drawn: no term grows and signs alternate, so that the sum is below |v|² (Σ Lᵏ/k + 2)."""
    block = ResidualBlock(2, 2, depth=1, lipschitz=lipschitz).double()
    with torch.no_grad():
        for layer in block.layers:
            layer.weight.copy_(-100 * torch.eye(2))  # both, so that J > 0 as well; x below makes its slope L/1.1
            layer.bias.zero_()
    x = torch.full((1, 2), -1e4, dtype=torch.float64)
    exact = block.call_and_ladj(x)[1].item()
    assert exact == pytest.approx(2 * math.log1p(lipschitz / 1.1))
    monkeypatch.setattr(residual, "uniform", lambda *_, **__: torch.tensor([1 - 1e-9], dtype=torch.float64))
    for seed in range(5):
        v = torch.randn(1, 2, generator=step_generator(seed), dtype=torch.float64)
        value = block.estimate(x, step_generator(seed))[1]
        assert abs(value.item()) < float(v.square().sum()) * (2 - math.log(1 - lipschitz))
