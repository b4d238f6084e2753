"""Losses against closed forms: gradients of divergences between Gaussians, zero where flow and target agree."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from sciflow.boltzmann import importance
from sciflow.boltzmann.diffusion_sampler import DiffusionSampler
from sciflow.boltzmann.flow_function import DiffusionGFlowNet
from sciflow.boltzmann.losses import (
    AlphaTwo,
    ForceMatching,
    ForwardKL,
    Loss,
    Losses,
    ReverseKL,
    SelfImprovement,
    SubTrajectoryBalance,
    TemperatureAnnealing,
    TrajectoryBalance,
    TrustRegion,
)
from sciflow.boltzmann.losses.softening import softened
from sciflow.boltzmann.losses.trust_region import constrained_weights
from sciflow.errors import InputError
from sciflow.flows import MixedBase, ModuleTransform, NormalizingFlow
from sciflow.rng import normal, step_generator

WIDTH = 1.2  # of the target
N = 40_000


class Stretched(ModuleTransform):
    """x ↦ (x − mean) e^(−log_scale)."""

    def __init__(self, mean: float, scale: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.full((2,), mean, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.full((2,), math.log(scale), dtype=torch.float64))

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.mean) * (-self.log_scale).exp(), -self.log_scale.sum().expand(x.shape[:-1])

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean + self.log_scale.exp() * y, self.log_scale.sum().expand(y.shape[:-1])


class Gaussian(NormalizingFlow):
    """N(mean, diag e^(2 log_scale)), a flow of two dimensions with two parameters each."""

    def __init__(self, mean: float = 0.0, scale: float = WIDTH) -> None:
        super().__init__(MixedBase(torch.zeros(2, dtype=torch.bool)), Stretched(mean, scale))

    @property
    def mean(self) -> nn.Parameter:
        return self.transform.mean

    @property
    def log_scale(self) -> nn.Parameter:
        return self.transform.log_scale


class Target:
    """exp(−energy) = 3 N(0, WIDTH²), counting how often it is asked; +∞ where x₁ is beyond ``wall``."""

    def __init__(self, wall: float = math.inf) -> None:
        self.asked, self.wall = 0, wall

    def energy(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        energy = (x / WIDTH).square().sum(-1) / 2 + math.log(2 * math.pi * WIDTH**2 / 3)
        return torch.where(x[:, 0] > self.wall, torch.nan, energy)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.energy(x), -x / WIDTH**2

    def at(self, temperature: float) -> "Target":
        raise NotImplementedError


def data(n: int = N) -> Tensor:
    return WIDTH * normal(n, 2, generator=step_generator(1), dtype=torch.float64)


def by_energy_alone(name: str, samples: int = N) -> Loss:
    """In its last phase, where it minimises a divergence to the target itself."""
    loss = Losses(
        trust_region=TrustRegion(samples=samples, kl=10.0, entropy=10.0),
        temperature_annealing=TemperatureAnnealing(samples=samples),
        fab=AlphaTwo(capacity=10 * samples, size=0.6),
    ).named(name)
    loss.progress = 0.999
    return loss


def gradient(loss: Loss, flow: Gaussian, x: Tensor) -> Tensor:
    """Of the mean, with respect to mean and log-scale in each dimension, (2, 2)."""
    value = loss(flow, Target(), {"x": x}, step_generator(2)).mean()
    return torch.stack(torch.autograd.grad(value, (flow.mean, flow.log_scale)))


def forward_kl(flow: Gaussian) -> Tensor:
    return (flow.log_scale + (WIDTH**2 + flow.mean.square()) / (2 * (2 * flow.log_scale).exp())).sum()


def reverse_kl(flow: Gaussian) -> Tensor:
    return (((2 * flow.log_scale).exp() + flow.mean.square()) / (2 * WIDTH**2) - flow.log_scale).sum()


def log_second_moment(flow: Gaussian) -> Tensor:
    """log ∫ p²/q: dimension by dimension a Gaussian integral."""
    s2, t2 = (2 * flow.log_scale).exp(), WIDTH**2
    precision = 2 / t2 - 1 / s2
    return (flow.log_scale - precision.log() / 2 + flow.mean.square() / (2 * s2) * (1 + 1 / (s2 * precision))).sum()


def fisher(flow: Gaussian) -> Tensor:
    """Forward KL, and E_p‖∇log q − ∇log p‖² as a fraction of E_p‖∇log p‖² = 2/WIDTH²."""
    s2, t2 = (2 * flow.log_scale).exp(), WIDTH**2
    square = ((1 / t2 - 1 / s2).square() * t2 + (flow.mean / s2).square()).sum()
    return forward_kl(flow) + square * t2 / 2


EXACT: dict[str, Callable[[Gaussian], Tensor]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "force_matching": fisher,
    "fab": log_second_moment,
    "self_improvement": forward_kl,
    "temperature_annealing": forward_kl,
    "trust_region": forward_kl,
}


@pytest.mark.parametrize("name", EXACT)
def test_gradients_are_those_of_the_divergence(name: str) -> None:
    flow = Gaussian(0.5, 1.5)
    exact = torch.stack(torch.autograd.grad(EXACT[name](flow), (flow.mean, flow.log_scale)))
    # single-sample gradients are of order one and a half: five standard errors of their mean
    torch.testing.assert_close(gradient(by_energy_alone(name), flow, data()), exact, atol=8 / math.sqrt(N), rtol=0)


def test_without_path_gradient_the_mean_is_the_same() -> None:
    flow = Gaussian(0.5, 1.5)
    exact = torch.stack(torch.autograd.grad(reverse_kl(flow), (flow.mean, flow.log_scale)))
    found = gradient(ReverseKL(path_gradient=False), flow, data())
    torch.testing.assert_close(found, exact, atol=8 / math.sqrt(N), rtol=0)


@pytest.mark.parametrize("name", ["reverse_kl", "self_improvement"])
def test_where_flow_and_target_agree_every_sample_says_so(name: str) -> None:
    """Zero to rounding from a batch of six, even of data that are not of the target: nothing is left to average."""
    loss, biased = by_energy_alone(name), 3 + data(6)
    assert gradient(loss, Gaussian(), biased).abs().max() < 1e-12
    assert gradient(ForwardKL(), Gaussian(), biased).abs().max() > 0.1
    assert gradient(ReverseKL(path_gradient=False), Gaussian(), biased).abs().max() > 0.01


def test_forces_that_agree_leave_forward_kl() -> None:
    x = data(6)
    torch.testing.assert_close(gradient(ForceMatching(), Gaussian(), x), gradient(ForwardKL(), Gaussian(), x))


def test_forces_that_come_with_the_data_cost_nothing() -> None:
    flow, target, x = Gaussian(0.3), Target(), data(6)
    computed = ForceMatching()(flow, target, {"x": x}, step_generator(0))
    loss = ForceMatching()
    torch.testing.assert_close(loss(flow, None, {"x": x, "force": -x / WIDTH**2}, step_generator(0)), computed)
    assert (target.asked, loss.evaluations) == (6, 0)


@pytest.mark.parametrize("name", EXACT)
def test_energies_are_counted(name: str) -> None:
    target = Target()
    loss = Losses(temperature_annealing=TemperatureAnnealing(samples=50), trust_region=TrustRegion(samples=50)).named(
        name
    )
    for progress in (0.0, 0.5, 0.9, 1.0):
        loss.progress = progress
        loss(Gaussian(), target, {"x": data(12)}, step_generator(3))
    assert loss.evaluations == target.asked
    assert loss.needs_energy == (target.asked > 0)
    if loss.needs_energy:
        with pytest.raises(InputError, match="needs an energy"):
            by_energy_alone(name)(Gaussian(), None, {"x": data(12)}, step_generator(3))


@pytest.mark.parametrize("name", EXACT)
def test_infinite_energies_leave_gradients_finite(name: str) -> None:
    """A third of the samples lies behind a wall, where the energy is not a number."""
    loss, flow = by_energy_alone(name, 200), Gaussian()
    value = loss(flow, Target(wall=0.5), {"x": data(200)}, step_generator(4))
    assert value.shape == (200,)
    for part in torch.autograd.grad(value.mean(), (flow.mean, flow.log_scale)):
        assert part.isfinite().all()


def test_self_improvement_empties_what_is_behind_a_wall() -> None:
    flow = Gaussian()
    loss = by_energy_alone("self_improvement")
    value = loss(flow, Target(wall=0.5), {"x": data(6000)}, step_generator(4)).mean()
    (slope,) = torch.autograd.grad(value, flow.mean)
    assert slope[0] > 0.1  # descent moves the mean away from the wall
    assert abs(slope[1]) < 0.1


def test_softened_energies_grow_as_logarithms() -> None:
    energy = torch.tensor([-5.0, 0.0, 0.0, 10.0, 10.0 * math.e, math.inf], dtype=torch.float64)
    value, slope = softened(energy, cut=10.0)
    torch.testing.assert_close(value, torch.tensor([-5.0, 0, 0, 10, 20, math.inf], dtype=torch.float64))
    torch.testing.assert_close(slope, torch.tensor([1.0, 1, 1, 1, 1 / math.e, 0], dtype=torch.float64))


QUANTILES = torch.special.ndtri((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)  # of q = N(0, 1)


def variance_of(logw: Tensor) -> float:
    return float((logw.softmax(0) * QUANTILES.square()).sum())


def steps_from_standard_normal(target_variance: float, kl: float, entropy: float) -> float:
    """Variance of the q' that is nearest to N(0, target_variance) under the two constraints."""
    logq = -QUANTILES.square() / 2 - math.log(2 * math.pi) / 2
    return variance_of(constrained_weights(QUANTILES.square() / (2 * target_variance), logq, kl, entropy))


def test_a_trust_region_that_does_not_bind_is_importance_sampling() -> None:
    assert steps_from_standard_normal(0.5, kl=9.0, entropy=9.0) == pytest.approx(0.5, abs=1e-3)  # quantiles


@pytest.mark.parametrize("kl", [0.01, 0.1])
def test_a_step_is_as_long_as_the_trust_region(kl: float) -> None:
    v = steps_from_standard_normal(0.1, kl, entropy=9.0)
    assert (v - 1 - math.log(v)) / 2 == pytest.approx(kl, rel=0.01)  # KL(N(0, v)‖N(0, 1)); quantiles
    assert v < 1


@pytest.mark.parametrize("entropy", [0.05, 0.3])
def test_entropy_falls_no_faster_than_allowed(entropy: float) -> None:
    v = steps_from_standard_normal(0.1, kl=9.0, entropy=entropy)
    lost = -math.log(v) / 2
    assert lost == pytest.approx(entropy, abs=1e-3)  # quantiles


def test_samples_without_energy_get_no_weight() -> None:
    energy = torch.where(QUANTILES > 0, torch.inf, 0.0)
    logw = constrained_weights(energy, torch.zeros_like(QUANTILES), kl=0.1, entropy=0.1)
    assert (logw[QUANTILES > 0] == -torch.inf).all()
    assert logw[QUANTILES < 0].isfinite().all()


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
    assert w.log_z() == pytest.approx(math.log(3), abs=5 / math.sqrt(N * w.ess()))
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


def test_names_and_settings_that_are_wrong_are_refused() -> None:
    with pytest.raises(InputError, match=r"model\.loss='alpha' is not a loss: use one of forward_kl, reverse_kl"):
        Losses().named("alpha")
    for wrong in (
        lambda: ReverseKL(cut=0),
        lambda: SelfImprovement(start=1.0),
        lambda: TemperatureAnnealing(hot=1.0),
        lambda: TemperatureAnnealing(melt=1.0),
        lambda: TrustRegion(kl=0.0),
        lambda: TrajectoryBalance(explore=-1.0),
        lambda: SubTrajectoryBalance(decay=0.0),
        lambda: SubTrajectoryBalance(explore=-1.0),
    ):
        with pytest.raises(InputError):
            wrong()


def test_a_named_loss_remembers_nothing() -> None:
    losses = Losses()
    first = losses.named("fab")
    first(Gaussian(), Target(), {"x": data(8)}, step_generator(0))
    again = losses.named("fab")
    assert first.evaluations > 0
    assert again.evaluations == 0
