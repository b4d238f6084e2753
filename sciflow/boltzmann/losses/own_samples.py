"""Samples of a flow, kept with their weights and drawn again and again: what three losses learn from."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["Kept", "drawn", "sampled"]

#: Samples ``x`` and what is known of each (``logw``, ``logq``), all with the samples first: tensors alone, so that a
#: checkpoint takes them as they are.
Kept = dict[str, Tensor]


def sampled(flow: Any, n: int, at_once: int, generator: torch.Generator) -> Kept:
    """``n`` samples ``x`` of a flow with ``logq (n,)``, drawn in parts without gradient."""
    with torch.no_grad():
        parts = [flow.sample(min(at_once, n - start), generator=generator) for start in range(0, n, at_once)]
    return {"x": torch.cat([part[0] for part in parts]), "logq": torch.cat([part[1] for part in parts])}


def drawn(kept: Mapping[str, Tensor], n: int, generator: torch.Generator) -> Tensor:
    """Indices ``(n,)``, with replacement and with probability ∝ exp(logw)."""
    return torch.multinomial(torch.softmax(kept["logw"].double(), 0), n, replacement=True, generator=generator)
