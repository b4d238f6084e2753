"""Training for a given processor time, so that models are compared at equal cost."""

from time import process_time

import torch
from timing import race
from torch import Tensor

from sciflow.rng import step_generator
from sciflow.training import Model, TrainerConfig, fit

__all__ = ["Frames", "fit_for"]


class Frames(torch.utils.data.Dataset[Tensor]):
    """Frames ``x`` as a data set."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        return {"x": self.x[indices]}


def fit_for(model: Model, x: Tensor, seconds: float, trainer: TrainerConfig) -> int:
    """Train on frames ``x`` for as many steps as ``seconds`` of processor time allow; their number."""

    def step() -> None:
        model.loss({"x": x[: trainer.batch_size]}, step_generator(0)).mean().backward()

    trainer.steps = int(seconds / (race({"step": step}, 2.0)["step"] / 1e3))
    model.zero_grad()
    began = process_time()
    fit(model, Frames(x), trainer)
    print(f"({trainer.steps} steps in {process_time() - began:.0f} s)", flush=True)
    return trainer.steps
