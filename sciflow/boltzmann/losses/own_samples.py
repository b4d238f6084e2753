"""Samples of a flow, kept with their weights and drawn again and again: what three losses learn from."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ..energy import Energy
from .base import Loss

__all__ = ["Kept", "drawn", "sampled"]

#: Samples ``x`` and what is known of each (``logw``, ``logq``), all with the samples first: tensors alone, so that a
#: checkpoint takes them as they are.
Kept = dict[str, Tensor]


def sampled(loss: Loss, flow: Any, energy: Energy | None, n: int, at_once: int, generator: torch.Generator) -> Kept:
    """``n`` samples ``x`` of a flow with ``logq (n,)`` and ``energy (n,)``, drawn in parts without gradient.

    Raises:
        InputError: not one of them has a weight.
    """
    with torch.no_grad():
        parts = [flow.sample(min(at_once, n - start), generator=generator) for start in range(0, n, at_once)]
    x, logq = (torch.cat(part) for part in zip(*parts, strict=True))
    energies = loss.energy_of(energy, x)
    if not (energies.isfinite() & logq.isfinite()).any():
        raise InputError(
            f"{type(loss).__name__}: none of {n} samples of the flow has a finite energy: train it by forward_kl, or "
            "draw more for each round"
        )
    return {"x": x, "logq": logq, "energy": energies}


def drawn(kept: Mapping[str, Tensor], n: int, generator: torch.Generator) -> Tensor:
    """Indices ``(n,)``, with replacement and with probability ∝ exp(logw)."""
    return torch.multinomial(torch.softmax(kept["logw"].double(), 0), n, replacement=True, generator=generator)
