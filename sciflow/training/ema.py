"""Exponential moving average of the weights: the model that is saved, validated and sampled."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["EMA"]


class EMA:
    """``average ← d·average + (1−d)·weights`` with ``d = min(decay, (1+step)/(10+step))``, so that early steps fade.

    Buffers follow the model as they are.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.average: list[Tensor] = [p.detach().clone() for p in self.weights]
        self.best: list[Tensor] = []

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, self.weights, 1 - decay)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """The model with averaged weights, for as long as the block lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self.weights, self.average, strict=True):
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)

    def remember(self) -> None:
        """Keep the average as it is now, as the best one so far."""
        self.best = [average.clone() for average in self.average]

    @torch.no_grad()
    def finish(self, best: bool) -> None:
        """Leave the average in the model: the last one, or the one that was remembered."""
        for weight, average in zip(self.weights, self.best if best else self.average, strict=True):
            weight.copy_(average)

    def load(self, average: list[Tensor], best: list[Tensor]) -> None:
        """Take up saved averages."""
        self.best = best
        for mine, saved in zip(self.average, average, strict=True):
            mine.copy_(saved)
