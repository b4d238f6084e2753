"""The fit loop: Lightning Fabric for devices and precision, everything else in the open.

Step ``s`` of seed ``k`` sees the same batch and the same noise whenever it is run: a killed run that starts again from
its last checkpoint ends with the weights of the run that was never killed. SIGINT and SIGTERM end it after
the step they come in, with a checkpoint.
"""

import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError, require_above
from ..interrupts import Interrupt, handled, stop
from . import checkpoint
from .data import save_tensors
from .ema import EMA
from .loader import loader, read
from .models import Model
from .order import Batches, stream
from .progress import Progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["TrainerConfig", "fit"]

ROWS = 200  # rows of history.csv
VALIDATIONS = 20  # times the validation loss is computed, at most
VALIDATION_SAMPLES = 4096  # samples it is computed on; fewer are taken several times, with other noise
FEWEST = 256  # of them, however short the training
PRECISIONS = ("32-true", "64-true", "bf16-mixed")  # float16 would need the scaler's state in the checkpoint
KEEP = ("last", "best", "auto")
PATIENCE = 10  # steps in a row without a finite gradient, before training gives up


@dataclass
class TrainerConfig:
    """How a model is fitted.

    Attributes:
        steps: optimizer steps. The validation loss is computed 20 times, of short trainings down to 5 times.
        batch_size: samples a step, over all devices together.
        lr: learning rate of AdamW at its highest: linear warm-up, then a cosine down to 0.
        weight_decay: of AdamW.
        warmup: steps of the warm-up.
        clip: the gradient's norm is cut to this.
        ema: decay of the averaged weights, which are the ones saved.
        keep: ``last``, or ``best``: the averaged weights of the lowest validation loss; ``auto`` is ``best`` where that
            is what training lowers.
        devices: processes, one a device; more than one are started by ``torchrun``.
        precision: ``32-true``, ``64-true``, or ``bf16-mixed``: networks in bfloat16, data and weights in float32.
        compile: compile the transform of a flow: minutes at the start, for long trainings on a GPU.
        threads: CPU threads. Small networks gain little from a second one, and lose much where cores are shared.
        workers: processes that read data.
        checkpoint_every: seconds between checkpoints.
    """

    steps: int = 2000
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 100
    clip: float = 1.0
    ema: float = 0.999
    keep: str = "last"
    devices: int = 1
    precision: str = "32-true"
    compile: bool = False
    threads: int = 1
    workers: int = 0
    checkpoint_every: float = 30.0

    def __post_init__(self) -> None:
        require_above(0, "trainer.", self, "steps", "batch_size", "lr", "clip", "devices", "threads")
        require_above(-1, "trainer.", self, "warmup", "workers")
        if self.precision not in PRECISIONS:
            raise InputError(f"trainer.precision={self.precision!r} is not one of {', '.join(PRECISIONS)}")
        if self.keep not in KEEP:
            raise InputError(f"trainer.keep={self.keep!r} is not one of {', '.join(KEEP)}")
        if not 0 <= self.ema < 1:
            raise InputError(f"trainer.ema={self.ema} must be at least 0 and less than 1")
        if self.batch_size % self.devices:
            raise InputError(
                f"trainer.batch_size={self.batch_size} must be a multiple of trainer.devices={self.devices}"
            )

    def rate(self, step: int) -> float:
        """Learning rate of a step: ``lr · min(1, (s+1)/warmup) · (1 + cos(π s/steps))/2``."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return self.lr * warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    @property
    def validate_every(self) -> int:
        """Steps between validations: 5 to 20 in all, the fewer the fewer samples training takes."""
        most = min(VALIDATIONS, max(5, 5 * self.steps * self.batch_size // FEWEST))
        return -(-self.steps // most)


def fit(
    model: Model,
    dataset: Dataset[Any],
    trainer: TrainerConfig,
    out: Path | None = None,
    state: Path | None = None,
    val: Dataset[Any] | None = None,
    seed: int = 0,
) -> Model:
    """Train ``model`` and leave the averaged weights in it.

    Args:
        model: its ``loss`` is averaged over the batch.
        dataset: map-style; its ``__getitems__`` may answer a list of indices with a batch of tensors. Where it has
            ``lengths (n,)``, a batch has samples of near-equal length.
        out: folder that gets ``model.safetensors`` (averaged weights) and ``history.csv``; nothing is written without.
        state: folder that holds ``last.ckpt``; a run that finds one there continues from it. Without, there is none.
        val: where given, the validation loss is recorded.
        seed: names the order of the data and the noise.

    Raises:
        InputError: no gradient was finite for ``PATIENCE`` steps in a row, or the processes do not match ``devices``.
        KeyboardInterrupt: SIGINT or SIGTERM came; the step was ended and ``last.ckpt`` written before.
    """
    fabric = _fabric(trainer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=trainer.lr, weight_decay=trainer.weight_decay)
    if trainer.compile:
        model.compile_for_training()
    module, stepper = fabric.setup(model, optimizer)
    ema = EMA(model, trainer.ema)
    last_checkpoint = None if state is None else Path(state) / "last.ckpt"
    run = checkpoint.State()
    if last_checkpoint is not None:
        run = checkpoint.restore(last_checkpoint, model, optimizer, ema, fabric.device)
    order = Batches(
        len(dataset),  # type: ignore[arg-type]
        trainer.batch_size,
        seed,
        run.step,
        trainer.steps,
        fabric.global_rank,
        fabric.world_size,
        getattr(dataset, "lengths", None),
    )
    batches = loader(dataset, order, model.coupler, seed, trainer.workers)

    began, saved_at = time.monotonic() - run.seconds, time.monotonic()
    row_every, validate_every = max(1, trainer.steps // ROWS), trainer.validate_every
    module.train()
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    interrupt = Interrupt()
    with (
        handled(interrupt, signal.SIGINT, signal.SIGTERM),
        torch.random.fork_rng(devices),
        Progress("train", trainer.steps, run.step, quiet=not fabric.is_global_zero) as progress,
    ):
        for step, batch in zip(range(run.step, trainer.steps), batches, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = trainer.rate(step)
            generator = stream("noise", seed, step, fabric.global_rank, device=fabric.device)
            torch.manual_seed(stream("dropout", seed, step, fabric.global_rank).initial_seed())  # it takes no generator
            model.advance(step / trainer.steps)
            with _autocast(trainer, fabric):
                loss = module(fabric.to_device(batch), generator).mean()
            fabric.backward(loss)
            norm = fabric.clip_gradients(module, stepper, max_norm=trainer.clip, error_if_nonfinite=False)
            if norm is not None and torch.isfinite(norm):
                stepper.step()
                ema.update(step)
                run.loss_sum, run.loss_count, run.skipped = run.loss_sum + loss.item(), run.loss_count + 1, 0
            else:
                run.skipped += 1
                _give_up_after_patience(run.skipped, step, trainer)
            stepper.zero_grad()
            run.step, run.seconds = step + 1, time.monotonic() - began

            last = run.step == trainer.steps
            if last or run.step % row_every == 0:
                due = last or run.step % validate_every < row_every
                val_loss = math.nan if val is None or not due else _validate(module, val, ema, trainer, seed, fabric)
                if val_loss < run.best_loss:
                    run.best_loss = val_loss
                    ema.remember()
                mean = run.loss_sum / max(run.loss_count, 1)
                run.history.append([run.step, mean, val_loss, trainer.rate(step), run.seconds, model.evaluations])
                run.loss_sum, run.loss_count = 0.0, 0
            stopped_by = _anywhere(interrupt.noted, fabric)
            save = last or stopped_by or time.monotonic() - saved_at > trainer.checkpoint_every
            if save and last_checkpoint is not None and fabric.is_global_zero:
                checkpoint.save(last_checkpoint, model, optimizer, ema, run)
                saved_at = time.monotonic()
            if stopped_by:
                fabric.barrier()
                stop(stopped_by)
            progress.advance(note=_note(run.history))
    if stopped_by := _anywhere(interrupt.noted, fabric):  # after the last step
        stop(stopped_by)

    best = trainer.keep == "best" or (trainer.keep == "auto" and model.validated)
    ema.finish(best=best and math.isfinite(run.best_loss))
    if out is not None and fabric.is_global_zero:
        Path(out).mkdir(parents=True, exist_ok=True)
        save_tensors(model.state_dict(), Path(out) / "model.safetensors")
        checkpoint.write_history(run.history, Path(out) / "history.csv")
    fabric.barrier()
    return model.eval()


def _fabric(trainer: TrainerConfig) -> "Fabric":
    """Fabric for one process, or for the processes that torchrun started; never for fewer than were asked for."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

    torch.set_num_threads(trainer.threads)
    started = int(os.environ["WORLD_SIZE"]) if TorchElasticEnvironment.detect() else 1
    if started != trainer.devices:
        raise InputError(
            f"trainer.devices={trainer.devices}, but {started} process(es) were started: use "
            f"torchrun --nproc-per-node {trainer.devices} -m sciflow train … or trainer.devices={started}"
        )
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if started > 1 else 1
    fabric = Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=local,
        num_nodes=started // local,
        strategy="ddp" if started > 1 else "auto",
        precision="64-true" if trainer.precision == "64-true" else "32-true",
        # named, so that Fabric does not take one from a scheduler's variables
        plugins=[TorchElasticEnvironment() if started > 1 else LightningEnvironment()],
    )
    fabric.launch()
    if fabric.world_size != trainer.devices:
        raise RuntimeError(f"Fabric runs {fabric.world_size} processes where {trainer.devices} were asked for")
    return fabric


def _anywhere(noted: int, fabric: "Fabric") -> int:
    """The signal that came to any process, so that all of them end after the same step; 0 without one."""
    if fabric.world_size == 1:
        return noted
    signal_of_all = torch.tensor(noted, device=fabric.device)
    torch.distributed.all_reduce(signal_of_all, torch.distributed.ReduceOp.MAX)
    return int(signal_of_all)


def _autocast(trainer: TrainerConfig, fabric: "Fabric") -> torch.autocast:
    """Mixed precision for networks only: Fabric's own rounds the data as well, coordinates to three digits."""
    return torch.autocast(fabric.device.type, torch.bfloat16, enabled=trainer.precision == "bf16-mixed")


@torch.no_grad()
def _validate(module: Any, val: Dataset[Any], ema: EMA, trainer: TrainerConfig, seed: int, fabric: "Fabric") -> float:
    """Mean loss of the averaged weights on validation data, the same of them with the same noise every time.

    In an order of chance, another one each round: an objective may give the rows of a batch times that rise. At most a
    quarter of the samples that training takes between two validations: few slow steps do not wait for many slow losses.
    """
    total = len(val)  # type: ignore[arg-type]
    most = min(VALIDATION_SAMPLES, max(FEWEST, trainer.steps * trainer.batch_size // (4 * VALIDATIONS)))
    rounds = max(1, most // total)
    orders = [torch.randperm(total, generator=stream("validation", seed, 0, k)) for k in range(rounds)]
    chosen = torch.cat(orders)[:most].tolist()
    module.eval()
    losses: list[Tensor] = []
    with ema.applied(), _autocast(trainer, fabric):
        for i in range(0, len(chosen), trainer.batch_size):
            generator = stream("validation", seed, i, device=fabric.device)
            batch = fabric.to_device(read(val, chosen[i : i + trainer.batch_size]))
            losses.append(module(batch, generator))
    module.train()
    return torch.cat(losses).mean().item()


def _give_up_after_patience(skipped: int, step: int, trainer: TrainerConfig) -> None:
    if skipped >= PATIENCE:
        raise InputError(
            f"train: loss or gradient was not finite for {skipped} steps in a row, up to step {step}: "
            f"check the data, or lower trainer.lr={trainer.lr} or trainer.clip={trainer.clip}"
        )


def _note(history: list[list[float]]) -> str:
    if not history:
        return ""
    val_loss = next((row[2] for row in reversed(history) if not math.isnan(row[2])), math.nan)
    return f"loss {history[-1][1]:.4g}" + ("" if math.isnan(val_loss) else f"  val {val_loss:.4g}")
