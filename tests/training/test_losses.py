"""Flows trained by every loss on a double well: they end at the target, and a killed run ends as one that was not."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    ReverseKL,
    SelfImprovement,
    SubTrajectoryBalance,
    TemperatureAnnealing,
    TrajectoryBalance,
    TrustRegion,
)
from sciflow.boltzmann.targets import DoubleWell
from sciflow.flows import MixedBase, NormalizingFlow, spline_couplings
from sciflow.rng import step_generator
from sciflow.training import FlowModel, TensorsDataset, TrainerConfig, fit, load_tensors

WELL = DoubleWell(b=-3.0, c=0.5)  # 16 % of it on the left of a barrier of 4.5 kT
SHALLOW = DoubleWell(b=-2.0, c=0.3)


def flow(start: float = 0.0) -> NormalizingFlow:
    """Two couplings over a plane; the latents of N(0, 1) are moved to ``start`` and narrowed, if it is not zero."""
    numbers = torch.zeros(2, dtype=torch.bool)
    base: nn.Module = Elsewhere(start) if start else MixedBase(numbers)
    return NormalizingFlow(base, spline_couplings(numbers, 2, 16, 8, bound=5.0, depth=1))


class Elsewhere(nn.Module):
    """N((centre, 0), (0.3², 1))."""

    def __init__(self, centre: float) -> None:
        super().__init__()
        self.normal = MixedBase(torch.zeros(2, dtype=torch.bool))
        self.register_buffer("centre", torch.tensor([centre, 0.0]))
        self.register_buffer("width", torch.tensor([0.3, 1.0]))

    def sample(self, *shape: int, **how: Any) -> Tensor:
        return self.centre + self.width * self.normal.sample(*shape, **how)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.normal.log_prob((x - self.centre) / self.width) - math.log(0.3)


def trained(loss: Loss, target: DoubleWell = WELL, start: float = 0.0, steps: int = 90) -> FlowModel:
    model = FlowModel(flow(start), target, loss)
    data = TensorsDataset({"x": target.sample(4096, step_generator(1)).float()})
    fit(model, data, TrainerConfig(steps=steps, batch_size=128, lr=0.02, warmup=10, clip=20.0, ema=0.98))
    return model


@pytest.mark.parametrize(
    "loss",
    [
        ForwardKL(),
        ReverseKL(),
        ForceMatching(),
        AlphaTwo(stages=2, leapfrogs=2, size=0.5),
        SelfImprovement(start=0.5),
        TemperatureAnnealing(rungs=3, samples=2048),
        TrustRegion(kl=1.0, entropy=1.0, rounds=20, samples=1024),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_flow_learns_both_wells(loss: Loss) -> None:
    model = trained(loss)
    w = importance(model.flow, WELL, 10_000, generator=step_generator(2), batch_size=10_000)
    assert w.ess() > 0.9
    assert w.log_z().value == pytest.approx(WELL.log_z, abs=5 * math.sqrt((1 / w.ess() - 1) / len(w)))
    left = (WELL.sample(100_000, step_generator(3))[:, 0] < 0).double().mean()
    found = (w.x[:, 0] < 0).double()
    assert float(w.mean(found)) == pytest.approx(float(left), abs=5 * math.sqrt(left * (1 - left) / (len(w) * w.ess())))


def test_reverse_kl_stays_in_its_well_and_alpha_two_does_not() -> None:
    """Both start in the right well."""
    share = []
    for loss in (ReverseKL(), AlphaTwo(stages=2, leapfrogs=4, size=0.5)):
        model = trained(loss, SHALLOW, start=2.0, steps=80)
        x = model.flow.sample(5000, generator=step_generator(4))[0]
        share.append(float((x[:, 0] < 0).double().mean()))
    exact = float((SHALLOW.sample(100_000, step_generator(3))[:, 0] < 0).double().mean())
    assert share[0] < 0.1 * exact
    assert share[1] > 0.5 * exact


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        (DiffusionSampler, TrajectoryBalance(explore=0.2)),
        (DiffusionGFlowNet, SubTrajectoryBalance(explore=0.2)),
    ],
)
def test_a_diffusion_sampler_learns_both_wells(kind: type[DiffusionSampler], loss: Loss) -> None:
    """KL(q‖p) over paths, log Z − ⟨log w⟩, falls to a fraction, and the weights stay exact."""
    sampler = kind(2, WELL, steps=12, scale=1.6, width=32, depth=1)
    divergence = []
    for steps in (1, 100):
        model = FlowModel(sampler, WELL, loss)
        trainer = TrainerConfig(steps=steps, batch_size=128, lr=0.02, warmup=10, clip=20.0, ema=0.95)
        fit(model, TensorsDataset({"x": torch.zeros(1, 2)}), trainer)
        w = importance(sampler, WELL, 10_000, generator=step_generator(2), batch_size=10_000)
        divergence.append(WELL.log_z - float(w.logw.mean()))
    assert 0 < divergence[1] < divergence[0] / 3
    assert w.log_z().value == pytest.approx(WELL.log_z, abs=5 / math.sqrt(len(w) * w.ess()))
    assert float(w.mean((w.x[:, 0] < 0).double())) == pytest.approx(0.16, abs=5 * 0.4 / math.sqrt(len(w) * w.ess()))


class Stop(Exception):
    """Stands for the kill."""


class Killed(FlowModel):
    def __init__(self, loss: Loss, at: int) -> None:
        super().__init__(flow(), WELL, loss)
        self.left = at

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise Stop
        return super().loss(batch, generator)


@pytest.mark.parametrize(
    "loss",
    [
        lambda: AlphaTwo(stages=2, leapfrogs=2, capacity=100, reuse=3),
        lambda: SelfImprovement(start=0.3),
        lambda: TemperatureAnnealing(rungs=2, samples=64),
        lambda: TrustRegion(rounds=4, samples=64),
    ],
)
def test_what_a_loss_remembers_outlives_a_kill(loss: Any, tmp_path: Path) -> None:
    """Kept samples, a running log Z and the count of energies come back; the trained model holds none of them."""
    data = TensorsDataset({"x": WELL.sample(64, step_generator(1)).float()})
    trainer = TrainerConfig(steps=12, batch_size=32, lr=0.01, checkpoint_every=0.0)
    whole = fit(FlowModel(flow(), WELL, loss()), data, trainer, tmp_path / "a", tmp_path / "state_a")
    with pytest.raises(Stop):
        fit(Killed(loss(), at=8), data, trainer, tmp_path / "b", tmp_path / "state_b")
    resumed = fit(FlowModel(flow(), WELL, loss()), data, trainer, tmp_path / "b", tmp_path / "state_b")
    for ours, theirs in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert whole.evaluations == resumed.evaluations > 0
    rows = [(tmp_path / folder / "history.csv").read_text().splitlines() for folder in "ab"]
    assert rows[0][0].endswith(",evaluations")
    assert rows[0][-1].endswith(f",{whole.evaluations}")
    assert [row.split(",")[:2] for row in rows[0]] == [row.split(",")[:2] for row in rows[1]]
    assert set(load_tensors(tmp_path / "a" / "model.safetensors")) == {f"flow.{name}" for name in flow().state_dict()}


class Springs(nn.Module):
    """An energy with tensors of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stiffness", torch.ones(2))

    def energy(self, x: Tensor) -> Tensor:
        return (self.stiffness * x.square()).sum(-1) / 2


def test_an_energy_follows_its_flow_and_is_no_part_of_it() -> None:
    energy = Springs()
    model = FlowModel(flow(), energy, ReverseKL()).double()
    assert energy.stiffness.dtype == torch.double
    assert not [name for name in model.state_dict() if "stiffness" in name]


def test_validation_is_by_likelihood_and_costs_no_energies() -> None:
    model = FlowModel(flow(), WELL, ReverseKL()).eval()
    x = WELL.sample(5, step_generator(0)).float()
    torch.testing.assert_close(model.loss({"x": x}, step_generator(0)), -model.log_prob(x))
    assert model.evaluations == 0
