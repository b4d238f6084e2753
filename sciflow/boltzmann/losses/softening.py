"""Energies of colliding atoms, bent so that they do not drown all else."""

import torch
from torch import Tensor

__all__ = ["softened"]


def softened(energy: Tensor, cut: float) -> tuple[Tensor, Tensor]:
    r"""Energies ``(n,)`` that grow as a logarithm above m + ``cut``, and the slope of that, ``(n,)``.

    E ↦ m + cut·(1 + ln((E − m)/cut)), which has slope 1 at m + cut and cut/(E − m) above, m the median of the finite
    energies; +∞ stays +∞ with slope 0.
    """
    finite = energy.isfinite()
    middle = energy.masked_fill(~finite, torch.nan).nanmedian()
    ratio = ((energy - middle) / cut).clamp(min=1)
    bent = torch.where(ratio > 1, middle + cut * (1 + ratio.log()), energy)
    return torch.where(finite, bent, torch.inf), torch.where(finite, 1 / ratio, 0.0)
