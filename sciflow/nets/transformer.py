"""A causal transformer over a fixed number of places, evaluated in parallel or place by place from stored keys."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["CausalTransformer"]


class CausalTransformer(nn.Module):
    r"""Outputs ``(B, T, outputs)`` of tokens ``(B, T, inputs)``; those of place j depend on the tokens before j alone.

    The token before each place and a learned vector of the place enter; then ``depth`` times, with layer norms N,

    .. math:: h \leftarrow h + \text{attention}(N h), \qquad h \leftarrow h + W_2\, \text{gelu}(W_1 N h).

    Outputs start at zero. Attention is written out, so that outputs can be differentiated twice on every device.

    Args:
        length: T, the number of places.
        width: of tokens inside; a multiple of ``heads``.

    Source: Vaswani et al. 2017, arXiv:1706.03762; norms first after Xiong et al. 2020, arXiv:2002.04745.
    """

    def __init__(self, length: int, inputs: int, outputs: int, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width} is not a multiple of heads={heads}")
        self.heads = heads
        self.inward = nn.Linear(inputs, width)
        self.places = nn.Parameter(torch.randn(length, width) / width**0.5)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(depth))
        self.norm, self.outward = nn.LayerNorm(width), nn.Linear(width, outputs)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(self, x: Float[Tensor, "B T inputs"]) -> Float[Tensor, "B T outputs"]:
        """All places at once."""
        return self._outputs(nn.functional.pad(x[:, :-1], (0, 0, 1, 0)), 0, None)

    def cache(self, batch: int) -> Float[Tensor, "depth 2 batch heads T size"]:
        """Room for the keys and values of ``batch`` sequences, for ``resume`` to fill."""
        length, width = self.places.shape
        return self.places.new_empty(len(self.layers), 2, batch, self.heads, length, width // self.heads)

    def resume(
        self, before: Float[Tensor, "B c inputs"], start: int, cache: Float[Tensor, "depth 2 B heads T size"]
    ) -> Float[Tensor, "B c outputs"]:
        """Outputs of the c places from ``start`` on, without gradients; ``cache`` holds those before, and gets these.

        Args:
            before: the tokens before each of the places; zero before place 0.
        """
        with torch.no_grad():
            return self._outputs(before, start, cache)

    def _outputs(self, before: Tensor, start: int, cache: Tensor | None) -> Tensor:
        stop = start + before.shape[1]
        h = self.inward(before) + self.places[start:stop]
        ahead = torch.ones(stop - start, stop, dtype=torch.bool, device=h.device).triu(start + 1)
        for n, layer in enumerate(self.layers):
            h = layer(h, ahead, None if cache is None else cache[n])
        return self.outward(self.norm(h))


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        # a bias of the keys would add one number to all scores of a place, which their softmax does not see
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, h: Tensor, ahead: Tensor, cache: Tensor | None) -> Tensor:
        """``ahead (c, start + c)``: the keys that each of the c places must not see."""
        normed = self.before(h)
        query, key, value = (
            project(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        if cache is not None:
            stop = ahead.shape[1]
            places = slice(stop - len(ahead), stop)
            cache[0, :, :, places], cache[1, :, :, places] = key, value
            key, value = cache[0, :, :, :stop], cache[1, :, :, :stop]
        scores = (query @ key.mT) * query.shape[-1] ** -0.5
        seen = scores.masked_fill(ahead, -torch.inf).softmax(-1) @ value
        h = h + self.out(seen.transpose(1, 2).flatten(2))
        return h + self.mlp(h)
