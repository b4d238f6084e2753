"""Rotary positions: queries and keys are turned by their places, so that their products know only how far apart they
stand."""

import torch
from torch import Tensor, nn

__all__ = ["Rotary", "turned"]


class Rotary(nn.Module):
    """Cosines and sines ``(2, T, size/2)`` of places, at rates that fall geometrically from 1 to 1/1000.

    Source: Su et al. 2021, arXiv:2104.09864.
    """

    rates: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("rates", 1000.0 ** (-torch.arange(0, size, 2).double() / size), persistent=False)

    def forward(self, start: int, stop: int) -> Tensor:
        """Of the places ``start … stop−1``."""
        angle = torch.arange(start, stop, device=self.rates.device)[:, None] * self.rates
        return torch.stack([angle.cos(), angle.sin()])


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """Vectors ``(…, T, size)`` turned by the angles of their places."""
    cos, sin = turn.to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
