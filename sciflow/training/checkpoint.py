"""The state of a fit between two steps: on disk as tensors and numbers, never as pickled classes."""

import csv
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..errors import InputError
from .ema import EMA
from .models import Model

__all__ = ["State", "restore", "save", "write_history"]


@dataclass
class State:
    """Where a fit stands: what a checkpoint holds beside tensors."""

    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    skipped: int = 0  # steps in a row
    best_loss: float = math.inf  # of the validation
    history: list[list[float]] = field(default_factory=list)


def restore(path: Path, model: Model, optimizer: torch.optim.Optimizer, ema: EMA, device: torch.device) -> State:
    """Put back what :func:`save` wrote; without a file, the state before the first step."""
    if not path.exists():
        return State()
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise InputError(f"{path}: not a checkpoint that can be read; delete it to train from the start") from error
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    ema.load(saved["ema"], saved["best"])
    model.load_training_state(saved["training"])
    return State(**saved["progress"])


def save(path: Path, model: Model, optimizer: torch.optim.Optimizer, ema: EMA, run: State) -> None:
    """Tensors and numbers only (``torch.load(weights_only=True)`` reads them), to a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": ema.average,
        "best": ema.best,
        "training": model.training_state(),
        "progress": vars(run),
    }
    torch.save(content, part)
    os.replace(part, path)


def write_history(history: list[list[float]], path: Path) -> None:
    """``history.csv``: step, training loss since the last row, validation loss where computed, rate, seconds.

    And the energies of the target that training has asked for, 0 where it learns from data alone.
    """
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "val_loss", "lr", "seconds", "evaluations"])
        for step, loss, val_loss, lr, seconds, evaluations in history:
            writer.writerow(
                [
                    int(step),
                    f"{loss:.6g}",
                    "" if math.isnan(val_loss) else f"{val_loss:.6g}",
                    f"{lr:.4g}",
                    f"{seconds:.1f}",
                    int(evaluations),
                ]
            )
