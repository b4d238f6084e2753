"""Energies of colliding atoms, bent so that they do not drown all else."""

import torch
from torch import Tensor

__all__ = ["softened"]


def softened(energy: Tensor, cut: float) -> tuple[Tensor, Tensor]:
    r"""Energies ``(n,)`` that grow as a logarithm above m + ``cut``, m the median, and the slope of that, ``(n,)``.

    E ↦ m + cut·(1 + ln((E − m)/cut)), which has slope 1 at m + cut and cut/(E − m) above; +∞ stays +∞ with slope 0.
    """
    middle = energy.median()
    ratio = ((energy - middle) / cut).clamp(min=1)
    return torch.where(ratio > 1, middle + cut * (1 + ratio.log()), energy), 1 / ratio
