"""A transformer of sequences of any length, or of the columns of an alignment, that answers at every site."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .rotary import Rotary, turned
from .sites import Modulation, SiteEmbedding

__all__ = ["RotaryTransformer"]

_QUICK = 10.0  # scores between places are learnt that much faster than weights


class RotaryTransformer(nn.Module):
    r"""Logits ``(B, L, outputs)`` of states ``(B, L, inputs)`` at times ``(B,)``.

    Sites, with :class:`SiteEmbedding`, pass ``depth`` layers of attention over all sites and a perceptron, each after
    a norm that time and class modulate. Distances along the sequence enter by rotary positions. Outputs start at zero.

    Where places are columns, every pair of them has a learned number besides, which is added to its score: which
    column pairs with which is then learnt as such, and not as an angle between two vectors of places.

    A condition ``mask (B, L)`` is True at real sites: the others are seen by none, so padding changes nothing.

    Args:
        width: a multiple of ``2·heads``.
        places, classes, features: as in :class:`SiteEmbedding`.

    Source: Vaswani et al. 2017, arXiv:1706.03762; Su et al. 2021 (rotary), arXiv:2104.09864.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        dropout: float = 0.0,
        places: int = 0,
        classes: int = 0,
        features: int = 0,
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width={width} is not a multiple of 2·heads={2 * heads}")
        self.embed = SiteEmbedding(inputs, width, places, classes, features)
        self.rotary = Rotary(width // heads)
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(depth))
        self.pairs = nn.Parameter(torch.zeros(depth, heads, places, places)) if places else None
        self.norm, self.outward = Modulation(width), nn.Linear(width, outputs)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(
        self, x: Float[Tensor, "B L inputs"], t: Float[Tensor, " B"], mask: Tensor | None = None, **cond: Any
    ) -> Float[Tensor, "B L outputs"]:
        """``cond`` may hold ``label`` and ``profile``, see :class:`SiteEmbedding`."""
        h, whole = self.embed(x, t, **cond)
        turn = self.rotary(0, x.shape[1]).to(x.dtype)
        seen = None if mask is None else mask[:, None, None].expand(-1, -1, x.shape[1], -1)
        for n, layer in enumerate(self.layers):
            h = layer(h, whole, turn, self._scores(n, x.shape[1], seen))
        return self.outward(self.norm(h, whole))

    def _scores(self, n: int, length: int, seen: Tensor | None) -> Tensor | None:
        """What is added to the scores of layer n, or which keys are seen."""
        if self.pairs is None:
            return seen
        bias = _QUICK * self.pairs[n, :, :length, :length]
        return bias if seen is None else bias.masked_fill(~seen, -torch.inf)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = Modulation(width), Modulation(width)
        self.inward, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, whole: Tensor, turn: Tensor, seen: Tensor | None) -> Tensor:
        projected = self.inward(self.before(h, whole)).unflatten(-1, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        query, key = turned(query, turn), turned(key, turn)
        found = nn.functional.scaled_dot_product_attention(query, key, value, seen)
        h = h + self.dropout(self.out(found.transpose(1, 2).flatten(2)))
        return h + self.dropout(self.perceptron(self.between(h, whole)))
