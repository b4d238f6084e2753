"""The network that tells each body of a crystal what the others do."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["BodyTransformer"]


class BodyTransformer(nn.Module):
    """Numbers for each of N labelled bodies from features of all of them; zero at the start.

    Self-attention between bodies (Vaswani et al. 2017, arXiv:1706.03762), normalised before each half of a block.
    Bodies of a crystal stand at sites of their own, so each has an embedding of its site: the network is equivariant
    under permutations of bodies together with their sites.

    Args:
        bodies: N.
        features: of each body.
        outputs: numbers for each body.
        width, depth, heads: of the transformer.
    """

    def __init__(
        self, bodies: int, features: int, outputs: int, width: int = 48, depth: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.inward = nn.Linear(features, width)
        self.site = nn.Parameter(torch.randn(bodies, width) / width**0.5)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.outward = nn.Linear(width, outputs)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(self, features: Float[Tensor, "B N F"]) -> Float[Tensor, "B N P"]:
        h = self.inward(features) + self.site
        for block in self.blocks:
            h = block(h)
        return self.outward(self.norm(h))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.query_key_value(self.norm(h)).unflatten(-1, (3, self.heads, -1)).movedim(-2, 1).unbind(-2)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        h = h + self.mix(attended.movedim(1, -2).flatten(-2))
        return h + self.mlp(h)
