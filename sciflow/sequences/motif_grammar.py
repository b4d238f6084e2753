"""Synthetic DNA with planted motifs: a law that is known, with its sampler, its likelihood and its hits."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..alphabets import DNA
from ..rng import categorical, pick, uniform

__all__ = ["Block", "MotifGrammar"]


@dataclass(frozen=True)
class Block:
    """What is planted: letter probabilities ``columns (w, 4)``; places between motifs are as the background.

    ``parts``: first place and width of each motif in it.
    """

    name: str
    columns: Tensor
    parts: tuple[tuple[int, int], ...]

    def part(self, i: int) -> Tensor:
        start, width = self.parts[i]
        return self.columns[start : start + width]


@dataclass(frozen=True)
class MotifGrammar:
    r"""Independent letters of the background b, and in class c one block W at a place s that is uniformly random:

    .. math:: p(x | c) = \prod_l b(x_l) \; \frac{1}{n_c} \sum_s \prod_j W_j(x_{s + j}) / b(x_{s + j})

    over the n places at which the whole block fits. All functions take letters ``(B, L)`` or ``(B, L, 4)``: one-hot, or
    numbers between, in which sums over letters are linear (for slopes).
    """

    background: Tensor
    blocks: tuple[Block, ...]
    length: int

    def sample(self, label: Tensor, generator: torch.Generator) -> Tensor:
        """Letters ``(B, L)`` of the classes ``label (B,)``."""
        x = categorical(self.background.expand(len(label), self.length, -1), generator)
        u = uniform(len(label), 1, generator=generator, dtype=torch.float64)
        for c, block in enumerate(self.blocks):
            own, width = (label == c).nonzero(), len(block.columns)
            places = (u[own[:, 0]] * (self.length - width + 1)).long() + torch.arange(width)
            x[own, places] = pick(block.columns, uniform(*places.shape, generator=generator, dtype=torch.float64))
        return x

    def log_odds(self, x: Tensor, columns: Tensor) -> Tensor:
        """``Σ_j log W_j(x_{s+j}) / b(x_{s+j})`` ``(B, places)`` of columns at every place at which they fit."""
        hot = x if x.is_floating_point() else one_hot(x, len(DNA)).to(self.background)
        places = self.length - len(columns) + 1
        odds = (columns / self.background).log().to(hot)
        return sum((hot[:, j : j + places] @ odds[j] for j in range(len(odds))), hot.new_zeros(len(hot), places))

    def log_prob(self, x: Tensor) -> Tensor:
        """``log p(x | c)`` of every class, ``(B, C)`` in nats: exact, by the sum over all places."""
        hot = x if x.is_floating_point() else one_hot(x, len(DNA)).to(self.background)
        planted = [self.log_odds(hot, block.columns) for block in self.blocks]
        odds = torch.stack([scores.logsumexp(1) - math.log(scores.shape[1]) for scores in planted], 1)
        return (hot * self.background.log().to(hot)).sum((1, 2))[:, None] + odds

    def threshold(self, columns: Tensor, false_positives: float, generator: torch.Generator, n: int = 5000) -> float:
        """Log-odds that the best place of a background sequence reaches with this probability, by n sequences."""
        x = categorical(self.background.expand(n, self.length, -1), generator)
        return float(self.log_odds(x, columns).amax(1).quantile(1 - false_positives))
