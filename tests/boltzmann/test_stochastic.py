"""Stochastic normalizing flows: exact weights of paths, at any parameters, both ways."""

import math

import pytest
import torch
from torch import Tensor, nn

from sciflow.boltzmann.free_energy import bar
from sciflow.boltzmann.kernels import HMC, MALA, ULA, Kernel, Metropolis
from sciflow.boltzmann.losses import PathKL
from sciflow.boltzmann.potentials import LogDensity
from sciflow.boltzmann.stochastic import StochasticFlow
from sciflow.boltzmann.targets import DoubleWell
from sciflow.boltzmann.weights import importance
from sciflow.errors import InputError
from sciflow.flows import AffineCoupling, Composed, MixedBase, NormalizingFlow
from sciflow.rng import normal, sample_generators, step_generator

KERNELS = {
    "ula": ULA(0.02),
    "mala": MALA(0.05),
    "hmc": HMC(0.1, leapfrogs=3),
    "metropolis": Metropolis(0.3),
}
NUMBERS = torch.zeros(2, dtype=torch.bool)
SHALLOW = DoubleWell(a=-0.5, b=-2.0, c=0.5)


def blocks(n: int = 2, scale: float = 0.1) -> list[AffineCoupling]:
    """Not trained and not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [AffineCoupling(torch.tensor([i % 2 == 0, i % 2 == 1]), 8).double() for i in range(n)]
    for i, parameter in enumerate(nn.ModuleList(layers).parameters()):
        parameter.data += scale * normal(*parameter.shape, generator=step_generator(i), dtype=torch.float64)
    return layers


def stochastic(kernel: Kernel, energy=SHALLOW, steps: int = 3) -> StochasticFlow:
    return StochasticFlow.between(MixedBase(NUMBERS), energy, blocks(), kernel, steps)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_the_mean_weight_is_the_constant_at_any_parameters(kernel: Kernel) -> None:
    n = 40_000
    weighted = importance(stochastic(kernel), SHALLOW, n, generator=step_generator(1), batch_size=n)
    assert 0.01 < weighted.ess() < 0.99
    assert weighted.log_z().value == pytest.approx(SHALLOW.log_z, abs=5 * math.sqrt((1 / weighted.ess() - 1) / n))
    exact = SHALLOW.sample(n, step_generator(2))[:, 0]
    error = float(exact.std()) / math.sqrt(n * weighted.ess())
    assert float(weighted.mean(weighted.x[:, 0])) == pytest.approx(float(exact.mean()), abs=6 * error)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_paths_forward_and_backward_have_the_same_law(kernel: Kernel) -> None:
    """Crooks: P_F(w) w = Z P_R(w). So BAR on the log-weights of both gives log Z, as does ⟨1/w⟩ of the way back."""
    flow, n = stochastic(kernel), 10_000
    with torch.no_grad():
        x, logq = flow.sample(n, step_generator(3))
        forward = -SHALLOW.energy(x) - logq
        data = SHALLOW.sample(n, step_generator(4))
        backward = -SHALLOW.energy(data) - flow.path_log_prob(data, step_generator(5))
    found = bar(-forward, backward)
    assert found.error < 0.05
    assert -found.value == pytest.approx(SHALLOW.log_z, abs=5 * found.error)
    inverse = (SHALLOW.log_z - backward).exp()
    assert float(inverse.mean()) == pytest.approx(1, abs=5 * float(inverse.std()) / math.sqrt(n))
    assert float(backward.mean()) > SHALLOW.log_z > float(forward.mean())


def test_without_moves_it_is_the_flow() -> None:
    layers, base = blocks(), MixedBase(NUMBERS)
    flow, plain = StochasticFlow(base, layers), NormalizingFlow(base, Composed(*layers))
    x, logq = flow.sample(20, step_generator(6))
    y, expected = plain.sample(20, step_generator(6))
    torch.testing.assert_close(x, y)
    torch.testing.assert_close(logq, expected)
    torch.testing.assert_close(flow.path_log_prob(x), plain.log_prob(x))
    assert sum(p.numel() for p in flow.parameters()) == sum(p.numel() for p in plain.parameters())


def test_of_normals_the_weights_are_exact() -> None:
    """A base at the target: every path of balanced moves has log q = log p(x), of unadjusted ones on average."""
    target = LogDensity(lambda x: MixedBase(NUMBERS).log_prob(x))
    for kernel in KERNELS.values():
        flow = StochasticFlow.between(MixedBase(NUMBERS), target, [blocks(1, 0.0)[0]], kernel, 4)
        x, logq = flow.sample(5000, step_generator(7))
        logw = (target.log_prob(x) - logq).detach()
        if kernel.metropolised:
            assert logw.abs().max() < 1e-12
        assert float(logw.exp().mean()) == pytest.approx(1, abs=5 * float(logw.exp().std()) / math.sqrt(5000) + 1e-12)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_a_sample_depends_on_its_own_generator(kernel: Kernel) -> None:
    flow = stochastic(kernel)
    x, logq = flow.sample(6, sample_generators(0, 0, 6))
    alone, its = flow.sample(1, sample_generators(0, 4, 1))
    torch.testing.assert_close(x[4:5], alone)
    torch.testing.assert_close(logq[4:5], its)


@pytest.mark.parametrize("name", ["ula", "metropolis", "hmc"])
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_gradients_of_both_losses_are_those_of_the_held_noise(name: str, way: str) -> None:
    """Against central differences in one parameter of each tensor, none of which flips a decision to accept."""
    flow, x = stochastic(KERNELS[name]), SHALLOW.sample(50, step_generator(8))

    def loss() -> Tensor:
        if way == "backward":
            return -flow.path_log_prob(x, step_generator(9)).mean()
        y, logq = flow.sample(50, step_generator(9))
        return (SHALLOW.energy(y) + logq).mean()

    loss().backward()
    for parameter in flow.parameters():
        assert parameter.grad is not None
        gradient, entry = parameter.grad.flatten()[0], parameter.data.view(-1)
        entry[0] += 1e-6
        up = loss()
        entry[0] -= 2e-6
        down = loss()
        entry[0] += 1e-6
        assert float(gradient) == pytest.approx(float((up - down).detach()) / 2e-6, rel=1e-4, abs=1e-7)


class Foreign:
    """An energy that autograd cannot follow."""

    def energy(self, x: Tensor) -> Tensor:
        return SHALLOW.energy(x.detach())

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return SHALLOW.energy_and_force(x)


def test_a_foreign_energy_is_followed_by_its_force() -> None:
    """Metropolis moves need one derivative, which is the force; Langevin's need two."""
    gradients = []
    for energy in (SHALLOW, Foreign()):
        flow = stochastic(Metropolis(0.3), energy)
        flow.sample(20, step_generator(16))[1].sum().backward()
        gradients.append([parameter.grad for parameter in flow.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])
    with pytest.raises(InputError, match="Foreign have no derivative"):
        stochastic(ULA(0.1), Foreign()).sample(20, step_generator(16))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_of_both_ways(share: float) -> None:
    """By value and gradient it is the mean of −log q of data's paths and E + log q of fresh ones."""
    flow, x = stochastic(Metropolis(0.3)), SHALLOW.sample(30, step_generator(17))
    found = PathKL(share)(flow, Foreign(), {"x": x}, step_generator(18))
    found.mean().backward()
    gradients = [parameter.grad.clone() for parameter in flow.parameters()]
    flow.zero_grad()
    generator = step_generator(18)
    backward = -flow.path_log_prob(x, generator) if share < 1 else torch.zeros(30)
    y, logq = flow.sample(30, generator) if share > 0 else (x, -SHALLOW.energy(x))
    expected = (1 - share) * backward + share * (SHALLOW.energy(y) + logq)
    expected.mean().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients, [parameter.grad for parameter in flow.parameters()])


def test_training_raises_the_effective_size() -> None:
    flow, n = stochastic(Metropolis(0.4), steps=4), 2000
    before = importance(flow, SHALLOW, n, generator=step_generator(10)).ess()
    optimizer, loss = torch.optim.Adam(flow.parameters(), 1e-2), PathKL()
    for step in range(150):
        optimizer.zero_grad()
        loss(
            flow, SHALLOW, {"x": SHALLOW.sample(128, step_generator(11, step))}, step_generator(12, step)
        ).mean().backward()
        optimizer.step()
    after = importance(flow, SHALLOW, n, generator=step_generator(14)).ess()
    assert after > 1.2 * before
