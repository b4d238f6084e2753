"""Samplers by paths and their losses: exact weights, reversals, pieces in balance."""

import math
from dataclasses import dataclass

import pytest
import torch
from gaussians import WIDTH, N, Target, data
from torch import Tensor, nn

from sciflow.boltzmann import importance
from sciflow.boltzmann.diffusion_sampler import DiffusionSampler
from sciflow.boltzmann.flow_function import DiffusionGFlowNet
from sciflow.boltzmann.losses import SubTrajectoryBalance, TrajectoryBalance
from sciflow.rng import step_generator


class Prior(Target):
    """N(0, 1.5²), up to a constant."""

    def energy(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        return (x / 1.5).square().sum(-1) / 2

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.energy(x), -x / 1.5**2


def sampler(target: Target) -> DiffusionSampler:
    torch.manual_seed(0)
    return DiffusionSampler(2, target, steps=8, scale=1.5, width=16, depth=1).double()


def drifting() -> DiffusionSampler:
    diffusion = sampler(Target())
    with torch.no_grad():
        diffusion.field.outward.weight.normal_(0.0, 0.15, generator=step_generator(5))
    return diffusion


def test_paths_to_the_prior_end_as_they_begin() -> None:
    """Each process is the other's reversal: the density of a path is the prior's at its end, sample by sample."""
    diffusion = sampler(Prior())
    x, logq = diffusion.sample(100, step_generator(0))
    prior = torch.distributions.Normal(0.0, 1.5).log_prob(x).sum(-1)
    torch.testing.assert_close(logq, prior, atol=1e-6, rtol=0)  # shares of the variance are rounded to float32
    loss = TrajectoryBalance()
    assert loss(diffusion, diffusion.energy, {"x": x}, step_generator(1)).max() < 1e-10
    assert loss.evaluations == 9 * 100
    assert diffusion.energy.asked == 8 * 100 + loss.evaluations


def test_weights_of_paths_are_exact_whatever_the_drift() -> None:
    diffusion = drifting()
    w = importance(diffusion, Target(), N, generator=step_generator(6), batch_size=N)
    assert 0.02 < w.ess() < 0.95  # neither the target already, nor out of its sight
    assert w.log_z().value == pytest.approx(math.log(3), abs=5 / math.sqrt(N * w.ess()))
    assert float(w.mean(w.x[:, 0].square())) == pytest.approx(WIDTH**2, abs=10 * WIDTH**2 / math.sqrt(N * w.ess()))


def test_the_gradient_of_trajectory_balance_is_that_of_the_path_divergence() -> None:
    """On the sampler's own paths: half the gradient of the variance of log w is that of KL(q‖p) over paths.

    Which is taken here by differentiating through the paths, by which log w has the same mean.
    """
    diffusion, n = drifting(), 10_000
    parameter = diffusion.field.outward.bias
    variance = TrajectoryBalance(explore=0.0)(diffusion, Target(), {"x": data(n)}, step_generator(8)).mean()
    x, logq = diffusion.sample(n, step_generator(9))
    (found,) = torch.autograd.grad(variance / 2, parameter)
    (exact,) = torch.autograd.grad((logq + Target().energy(x)).mean(), parameter)
    assert exact.abs().min() > 0.5
    torch.testing.assert_close(found, exact, atol=0.25, rtol=0)  # five standard errors at n


class Moving(nn.Module):
    """The drift that is the reversal of the backward process from N(mean, σ²): towards where its mean is next."""

    def __init__(self, diffusion: DiffusionSampler, mean: float) -> None:
        super().__init__()
        keep = (1 - diffusion.share.double()).sqrt()
        self.means = mean * torch.cat((keep.flip(0).cumprod(0).flip(0), torch.ones(1)))  # of the process, (K+1,)
        self.scale = diffusion.scale

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        k = (t * (len(self.means) - 1)).round().long()
        return (self.means[k + 1] / self.scale)[:, None].expand_as(x)


class Flowing(DiffusionGFlowNet):
    """The exact sampler of exp(−energy) = 3 N(mean, σ²), with its exact flow but for the start."""

    def __init__(self, mean: float) -> None:
        super().__init__(2, _Shifted(mean, 1.5), steps=6, scale=1.5)
        self.double()
        self.share = self.share.clone()
        self.field = Moving(self, mean)
        self.gate = nn.Parameter(torch.zeros(6, dtype=torch.float64), requires_grad=False)
        self.log_z = nn.Parameter(torch.tensor(math.log(3), dtype=torch.float64))

    def log_flow(self, states: Tensor, energies: Tensor) -> Tensor:
        between = self.prior_log_prob(states - self.field.means[:, None, None]) + math.log(3)
        ends = super().log_flow(states, energies)
        return torch.cat((ends[:1], between[1:-1], ends[-1:]))


@dataclass(frozen=True)
class _Shifted:
    """−log Z N(mean, scale²) in two dimensions."""

    mean: float
    scale: float
    z: float = 3.0

    def energy(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.scale).square().sum(-1) / 2 + math.log(2 * math.pi * self.scale**2 / self.z)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.energy(x), (self.mean - x) / self.scale**2

    def at(self, temperature: float) -> "_Shifted":
        raise NotImplementedError


@pytest.mark.parametrize("decay", [0.5, 2.0])
def test_pieces_of_exact_paths_are_balanced_but_for_the_forgotten_start(decay: float) -> None:
    """The backward process ends at N(m, σ²) with m = 1.6 % of the mean, and paths begin at N(0, σ²).

    So pieces from the start are off by log N(x₀; 0, σ²) − log N(x₀; m, σ²), and all others by nothing.
    """
    diffusion, loss = Flowing(mean=1.0), SubTrajectoryBalance(decay=decay, explore=0.0)
    found = loss(diffusion, diffusion.energy, {"x": data(50)}, step_generator(0))
    start = diffusion.trajectory(50, step_generator(0)).states[0]
    m = diffusion.field.means[0]
    off = (m * (m - 2 * start) / (2 * 1.5**2)).sum(-1)
    weights = [decay ** (j - i) for i in range(7) for j in range(i + 1, 7)]
    share = sum(decay**j for j in range(1, 7)) / sum(weights)
    torch.testing.assert_close(found, share * off.square(), rtol=1e-3, atol=1e-9)  # shares are rounded to float32
    assert loss.evaluations == 7 * 50


def test_pieces_of_paths_to_the_prior_are_balanced_at_first() -> None:
    """Untrained, the flow function is the prior's density at every step."""
    diffusion, loss = (
        DiffusionGFlowNet(2, _Shifted(0.0, 1.5, z=1.0), steps=8, scale=1.5).double(),
        SubTrajectoryBalance(),
    )
    assert loss(diffusion, diffusion.energy, {"x": data(50)}, step_generator(0)).max() < 1e-10


def test_long_pieces_alone_are_trajectory_balance() -> None:
    """As λ → ∞ the loss is (log Z − log w)², whose gradient in log Z vanishes at the batch's mean of log w."""
    torch.manual_seed(0)
    diffusion = DiffusionGFlowNet(2, Target(), steps=8, scale=1.5, width=16, depth=1).double()
    with torch.no_grad():
        diffusion.field.outward.weight.normal_(0.0, 0.15, generator=step_generator(5))
    args = diffusion, diffusion.energy, {"x": data(100)}, step_generator(1)
    w = importance(diffusion, Target(), 100, step_generator(1), batch_size=100)
    with torch.no_grad():
        diffusion.log_z.copy_(w.logw.mean())
    pieces = SubTrajectoryBalance(decay=1e6, explore=0.0)(*args)
    whole = TrajectoryBalance(explore=0.0)(*args[:3], step_generator(1))
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-4)


def test_a_path_does_not_depend_on_its_batch() -> None:
    diffusion = drifting()
    generators = [step_generator(0, i) for i in range(4)]
    whole = diffusion.sample(4, generators)[0]
    torch.testing.assert_close(diffusion.sample(2, [step_generator(0, i) for i in (2, 3)])[0], whole[2:])
