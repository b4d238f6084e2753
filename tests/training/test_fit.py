"""Laws of the fit loop: it resumes exactly, it stops honestly, and its checkpoints hold nothing but tensors."""

import csv
import dataclasses
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from sciflow.errors import InputError
from sciflow.interrupts import Terminated
from sciflow.manifolds import FlatTorus
from sciflow.nets import MLPField
from sciflow.objectives import FlowMatching
from sciflow.paths import GeodesicCost, GeodesicPath, OptimalTransport
from sciflow.rng import Generator, normal, step_generator
from sciflow.training import (
    FieldModel,
    Model,
    SafetensorsDataset,
    Samples,
    TrainerConfig,
    checkpoint,
    fit,
    load_tensors,
    save_tensors,
)
from sciflow.training.checkpoint import State
from sciflow.training.ema import EMA


class Location(Model):
    """Regresses noisy data on a location: the minimum is the mean, and noise and dropout of every step are seen."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(2))
        self.dropout = nn.Dropout(0.5)

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        noise = self.dropout(normal(*batch["x"].shape, generator=generator))
        return (batch["x"] + 0.1 * noise - self.mean).square().sum(-1)

    def sample(
        self, n: int, cond: dict[str, Tensor] | None = None, generator: Generator = None, **sampler: Any
    ) -> Samples:
        return Samples(self.mean + normal(n, 2, generator=generator), None, 1)


class Stop(Exception):
    """Stands for the kill."""


class Killed(Location):
    """Dies at its n-th loss."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise Stop
        return super().loss(batch, generator)


@pytest.fixture
def dataset(tmp_path: Path) -> SafetensorsDataset:
    x = normal(50, 2, generator=torch.Generator().manual_seed(1)) + torch.tensor([3.0, -1.0])
    save_tensors({"x": x}, tmp_path / "train.safetensors")
    return SafetensorsDataset(tmp_path / "train.safetensors")


TRAINER = TrainerConfig(steps=60, batch_size=16, lr=0.3, warmup=5, ema=0.9, clip=100.0, checkpoint_every=0.0)


def test_finds_the_minimum(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    model = fit(Location(), dataset, TRAINER, tmp_path / "out", tmp_path / "state")
    # AdamW at a decaying rate; 0.1 is the standard error of the noise over the last averaged steps
    torch.testing.assert_close(model.mean.detach(), dataset.tensors["x"].mean(0), atol=0.1, rtol=0)
    assert torch.equal(load_tensors(tmp_path / "out" / "model.safetensors")["mean"], model.mean)


@pytest.mark.parametrize("at", [1, 23, 59])
def test_killed_run_ends_as_if_it_was_not(dataset: SafetensorsDataset, tmp_path: Path, at: int) -> None:
    whole = fit(Location(), dataset, TRAINER, tmp_path / "a", tmp_path / "state_a", val=dataset)
    with pytest.raises(Stop):
        fit(Killed(at), dataset, TRAINER, tmp_path / "b", tmp_path / "state_b")
    assert not (tmp_path / "b").exists()
    resumed = fit(Location(), dataset, TRAINER, tmp_path / "b", tmp_path / "state_b", val=dataset)
    assert torch.equal(whole.mean, resumed.mean)
    seen = [[row[:2] for row in csv.reader((tmp_path / f / "history.csv").open())] for f in "ab"]
    assert seen[0] == seen[1]


class Signalled(Location):
    """Sends signals to its own process within its n-th loss."""

    def __init__(self, at: int, *signals: int) -> None:
        super().__init__()
        self.left, self.signals = at, signals

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        self.left -= self.training
        for number in self.signals if self.training and self.left == 0 else ():
            signal.raise_signal(number)
        return super().loss(batch, generator)


SELDOM = dataclasses.replace(TRAINER, checkpoint_every=1e9)


@pytest.mark.parametrize("at", [1, 23, 60])
@pytest.mark.parametrize(
    ("signals", "error"),
    [
        ([signal.SIGINT], KeyboardInterrupt),
        ([signal.SIGTERM], Terminated),
        ([signal.SIGTERM, signal.SIGTERM], Terminated),
    ],
)
def test_a_signal_ends_the_step_and_leaves_a_checkpoint(
    dataset: SafetensorsDataset, tmp_path: Path, at: int, signals: list[int], error: type[BaseException]
) -> None:
    """And the run that continues ends as one that was never stopped."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    whole = fit(Location(), dataset, SELDOM, tmp_path / "a", tmp_path / "state_a", val=dataset)
    with pytest.raises(error):
        fit(Signalled(at, *signals), dataset, SELDOM, tmp_path / "b", tmp_path / "state_b", val=dataset)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    saved = torch.load(tmp_path / "state_b" / "last.ckpt", weights_only=True)
    assert saved["progress"]["step"] == at
    resumed = fit(Location(), dataset, SELDOM, tmp_path / "b", tmp_path / "state_b", val=dataset)
    assert torch.equal(whole.mean, resumed.mean)
    seen = [[row[:3] for row in csv.reader((tmp_path / f / "history.csv").open())] for f in "ab"]
    assert seen[0] == seen[1]


def test_a_second_ctrl_c_acts_at_once(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(Signalled(9, signal.SIGINT, signal.SIGINT), dataset, SELDOM, tmp_path / "out", tmp_path / "state")
    assert not (tmp_path / "state" / "last.ckpt").exists()


def test_a_thread_takes_no_signals(dataset: SafetensorsDataset) -> None:
    """Only the main one may; another trains as well."""
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(fit, Location(), dataset, SELDOM).result()
    assert torch.equal(beside.mean, fit(Location(), dataset, SELDOM).mean)


class Passing(Location):
    """Ends at 100, whatever the data."""

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        target = batch["x"] if not self.training else 100.0
        return (target - self.mean).square().sum(-1)


def test_best_weights_are_those_of_the_lowest_validation_loss(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    """Training leads past the data, to 100: the best average is the one that was closest to them on its way."""
    trainer = dataclasses.replace(TRAINER, lr=1.0, warmup=0)
    target = dataset.tensors["x"].mean(0)
    last, best, resumed = (
        fit(Passing(), dataset, dataclasses.replace(trainer, keep=keep), tmp_path / "o", tmp_path / state, dataset).mean
        for keep, state in (("last", "a"), ("best", "b"), ("best", "b"))
    )
    assert (best - target).norm() < 0.2 * (last - target).norm()
    assert torch.equal(best, resumed)  # from the checkpoint of the last step


@pytest.mark.parametrize(("steps", "batch_size", "times"), [(30, 4, 5), (39, 256, 20), (410, 256, 20), (3, 4, 3)])
def test_validations_are_few(
    dataset: SafetensorsDataset, tmp_path: Path, steps: int, batch_size: int, times: int
) -> None:
    """At most 20, and 5 where training is so short that they would take most of its time; one is the last step's."""
    trainer = TrainerConfig(steps=steps, batch_size=batch_size)
    fit(Location(), dataset, trainer, tmp_path, val=dataset)
    with (tmp_path / "history.csv").open(newline="") as file:
        known = [int(row["step"]) for row in csv.DictReader(file) if row["val_loss"]]
    assert known[-1] == steps
    assert times - 1 <= len(known) <= times


@pytest.mark.parametrize("validated", [True, False])
def test_kept_weights_are_the_best_where_validation_says_so(
    dataset: SafetensorsDataset, tmp_path: Path, validated: bool
) -> None:
    trainer = dataclasses.replace(TRAINER, lr=1.0, warmup=0)

    def fitted(keep: str) -> torch.Tensor:
        model = Passing()
        model.validated = validated
        return fit(model, dataset, dataclasses.replace(trainer, keep=keep), val=dataset).mean

    assert torch.equal(fitted("auto"), fitted("best" if validated else "last"))
    assert not torch.equal(fitted("best"), fitted("last"))


def test_workers_couple_as_the_main_process_does(tmp_path: Path) -> None:
    torus = FlatTorus(2)
    save_tensors({"x": torus.random(40, generator=step_generator(0)), "label": torch.arange(40)}, tmp_path / "x")

    def end(workers: int) -> Tensor:
        torch.manual_seed(0)
        net = MLPField(torus, width=8, depth=1, cond_dim=1)
        coupling = OptimalTransport(GeodesicCost(torus), condition_weight=1.0)
        model = FieldModel(net, GeodesicPath(torus), coupling, FlowMatching(), torus.prior())
        trainer = TrainerConfig(steps=5, batch_size=8, workers=workers)
        out = tmp_path / str(workers)
        fit(model, SafetensorsDataset(tmp_path / "x"), trainer, out, out / "state")
        return torch.cat([p.flatten() for p in net.parameters()])

    assert torch.equal(end(0), end(2))


def test_seed_names_the_run(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    ends = [fit(Location(), dataset, TRAINER, tmp_path / "o", tmp_path / str(i), seed=i).mean.tolist() for i in (0, 1)]
    assert ends[0] != ends[1]


def test_checkpoint_holds_tensors_and_numbers_only(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    fit(Location(), dataset, TRAINER, tmp_path / "out", tmp_path / "state")
    saved = torch.load(tmp_path / "state" / "last.ckpt", weights_only=True)
    assert saved["progress"]["step"] == TRAINER.steps


def test_history_has_losses_rates_and_times(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    fit(Location(), dataset, TRAINER, tmp_path / "out", tmp_path / "state", val=dataset)
    rows = list(csv.DictReader((tmp_path / "out" / "history.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(1, TRAINER.steps + 1))
    assert float(rows[-1]["lr"]) < 0.01 * TRAINER.lr
    # the loss at the minimum is the variance of data and noise
    floor = dataset.tensors["x"].var(0, correction=0).sum().item() + 2 * 0.1**2
    assert float(rows[-1]["val_loss"]) == pytest.approx(floor, rel=0.1)


def test_losses_that_are_not_finite_stop_training(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    dataset.tensors["x"][:] = math.nan
    with pytest.raises(InputError, match=r"not finite for 10 steps .* lower trainer\.lr"):
        fit(Location(), dataset, TRAINER, tmp_path / "out", tmp_path / "state")


def test_one_bad_step_is_skipped(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    dataset.tensors["x"][7] = math.inf
    model = fit(Location(), dataset, TRAINER, tmp_path / "out", tmp_path / "state")
    assert model.mean.isfinite().all()


def test_bad_settings_are_named() -> None:
    with pytest.raises(InputError, match=r"trainer\.steps=0"):
        TrainerConfig(steps=0)
    with pytest.raises(InputError, match=r"trainer\.precision='16-mixed' is not one of 32-true"):
        TrainerConfig(precision="16-mixed")
    with pytest.raises(InputError, match=r"trainer\.batch_size=5 must be a multiple"):
        TrainerConfig(batch_size=5, devices=2)


def test_devices_that_were_not_started_are_refused(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="torchrun --nproc-per-node 2"):
        fit(Location(), dataset, TrainerConfig(devices=2), tmp_path / "out", tmp_path / "state")


class Dtypes(Location):
    """Notes in which dtype its matrices are multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.seen = nn.Linear(2, 2), set()

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        out = self.linear(batch["x"])
        self.seen.add((self.training, batch["x"].dtype, out.dtype))
        return out.float().square().sum(-1)


@pytest.mark.parametrize(
    ("precision", "data", "product"),
    [
        ("32-true", torch.float32, torch.float32),
        ("64-true", torch.float64, torch.float64),
        ("bf16-mixed", torch.float32, torch.bfloat16),
    ],
)
def test_precision_is_that_of_training_and_validation(
    dataset: SafetensorsDataset, tmp_path: Path, precision: str, data: torch.dtype, product: torch.dtype
) -> None:
    trainer = dataclasses.replace(TRAINER, steps=3, precision=precision)
    model = fit(Dtypes(), dataset, trainer, tmp_path / "out", tmp_path / "state", val=dataset)
    assert model.seen == {(training, data, product) for training in (True, False)}


def test_gradients_are_clipped(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    norms = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: norms.append(float(optimizer.param_groups[0]["params"][0].grad.norm()))
    )
    with hook:
        fit(Location(), dataset, dataclasses.replace(TRAINER, clip=0.5), tmp_path / "out", tmp_path / "state")
    assert max(norms) == pytest.approx(0.5, rel=1e-4)
    assert min(norms) < 0.4  # near the minimum nothing is cut


def test_a_checkpoint_is_whole_or_the_one_before(
    dataset: SafetensorsDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(Location(), dataset, TRAINER, tmp_path / "out", tmp_path / "state")
    before = (tmp_path / "state" / "last.ckpt").read_bytes()

    def killed(content: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise Stop

    monkeypatch.setattr(torch, "save", killed)
    model = Location()
    with pytest.raises(Stop):
        checkpoint.save(
            tmp_path / "state" / "last.ckpt", model, torch.optim.AdamW(model.parameters()), EMA(model, 0.9), State()
        )
    assert (tmp_path / "state" / "last.ckpt").read_bytes() == before


def test_the_seed_alone_decides(dataset: SafetensorsDataset) -> None:
    """Dropout draws from the global generator: it is named by seed and step in there, and left as it was."""
    means = []
    for elsewhere in (1, 2):
        torch.manual_seed(elsewhere)
        before = torch.get_rng_state()
        means.append(fit(Location(), dataset, TRAINER).mean)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*means)


TWO = """
import sys, torch
from pathlib import Path
from test_fit import Location, TRAINER
from sciflow.training import SafetensorsDataset, fit
import dataclasses
folder = Path(sys.argv[1])
fit(Location(), SafetensorsDataset(folder / "train.safetensors"), dataclasses.replace(TRAINER, devices=2),
    folder / "two", folder / "state")
"""


@pytest.mark.e2e
def test_two_processes_fit_one_model(dataset: SafetensorsDataset, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(tmp_path / "two.py"), str(tmp_path)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    two = load_tensors(tmp_path / "two" / "model.safetensors")["mean"]
    # the same batches with other noise: the averages differ by the noise of the gradients
    torch.testing.assert_close(two, dataset.tensors["x"].mean(0), atol=0.1, rtol=0)
