"""What sequences are made of: letters and words."""

import torch
from torch import Tensor

from ..rng import step_generator

__all__ = ["gc_share", "jensen_shannon", "shuffled", "words"]


def words(x: Tensor, letters: int, size: int, mask: Tensor | None = None) -> Tensor:
    """Counts ``(n, letters^size)`` of words of ``size`` letters in sequences ``x (n, L)``, real where ``mask`` is."""
    powers = letters ** torch.arange(size - 1, -1, -1)
    found = (x.unfold(1, size, 1) * powers).sum(-1)
    there = torch.ones_like(found) if mask is None else mask.unfold(1, size, 1).all(-1).long()
    return torch.zeros(len(x), letters**size, dtype=torch.long).scatter_add_(1, found, there)


def jensen_shannon(a: Tensor, b: Tensor) -> float:
    """Jensen–Shannon divergence in nats, 0 … log 2, of two laws given by counts."""
    p, q = (counts.double() / counts.sum() for counts in (a, b))
    half = (p + q) / 2
    entropies = [-torch.xlogy(law, law).sum() for law in (half, p, q)]
    return float(entropies[0] - (entropies[1] + entropies[2]) / 2)


def shuffled(x: Tensor, mask: Tensor | None = None, seed: int = 0) -> Tensor:
    """The letters of each sequence in another order: what composition alone gives."""
    chance = torch.rand(x.shape, generator=step_generator(seed))
    return x.gather(1, (chance if mask is None else chance + ~mask).argsort(1))


def gc_share(x: Tensor) -> Tensor:
    """Share ``(n,)`` of G and C in DNA."""
    return ((x == 1) | (x == 2)).double().mean(1)
