"""A residual multilayer perceptron on any manifold: the field for small and fixed dimensions."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..manifolds import Manifold, Product, State
from .embedding import Features, TimeEmbedding
from .field import Field

__all__ = ["MLPField"]

CONTEXT = 48  # numbers that carry time and conditions to the blocks; as wide as a block, they would cost as much


class MLPField(Field):
    """Residual MLP that sees the whole event at once.

    The state enters through ``Features``, well defined on the manifold (an angle and the same angle + 2π, a quaternion
    and its negative are one point); the output, of ``tangent_shape`` at every place of the event, is projected to the
    tangent space at ``x``. Each block is ``h + dropout(silu(W h + c))``, with ``c`` of the time and the conditions.

    Args:
        manifold: where the states live; a ``Product`` takes and returns dictionaries.
        event_shape: ``E``, the axes between batch and point; shared by the factors of a ``Product``.
        width: of the hidden layers.
        depth: number of residual blocks.
        cond_dim: numbers per sample in the conditions together. They are flattened and joined in the order of
            their names, so any keyword of ``velocity`` is welcome.
        harmonics, fourier, sharpness, blur: of the ``Features``.
        dropout: in training, the share of each block's output that is left out.
    """

    def __init__(
        self,
        manifold: Manifold[Any],
        event_shape: tuple[int, ...] = (),
        width: int = 128,
        depth: int = 3,
        cond_dim: int = 0,
        harmonics: int = 3,
        fourier: int = 0,
        sharpness: float = 64.0,
        blur: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(manifold)
        self.event_shape = tuple(event_shape)
        self.cond_dim = cond_dim
        places = math.prod(self.event_shape)
        parts = manifold.factors if isinstance(manifold, Product) else {"x": manifold}
        features = {name: Features(part, harmonics, fourier, sharpness, blur) for name, part in parts.items()}
        self.features = nn.ModuleDict(features)
        self.sizes = [places * math.prod(part.tangent_shape) for part in parts.values()]
        self.inward = nn.Linear(places * sum(f.size for f in features.values()), width)
        self.time = TimeEmbedding(CONTEXT)
        self.condition = nn.Linear(cond_dim, CONTEXT) if cond_dim else None
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(depth))
        self.outward = nn.Linear(width, sum(self.sizes))

    def velocity(self, x: State, t: Tensor, **cond: Tensor) -> State:
        parts = x if isinstance(x, dict) else {"x": x}
        with torch.autocast(t.device.type, enabled=False):  # in bfloat16 a place would keep three digits
            read = torch.cat([features(parts[name], t).flatten(1) for name, features in self.features.items()], -1)
            h = self.inward(read)
        context = nn.functional.silu(self.time(t) + self._condition(cond))
        for block in self.blocks:
            h = block(h, context)
        return self.manifold.tangent(x, self._split(self.outward(h)))

    def _condition(self, cond: dict[str, Tensor]) -> Tensor | float:
        if self.condition is None and not cond:
            return 0.0
        numbers = {name: c.flatten(1).shape[1] if c.ndim > 1 else 1 for name, c in cond.items()}
        if self.condition is None or sum(numbers.values()) != self.cond_dim:
            raise ValueError(f"conditions {numbers} do not add up to cond_dim={self.cond_dim} numbers per sample")
        joined = torch.cat([cond[name].reshape(-1, numbers[name]) for name in sorted(cond)], -1)
        return self.condition(joined.to(self.condition.weight.dtype))

    def _split(self, out: Tensor) -> State:
        def tangent(part: Manifold[Any], u: Tensor) -> Tensor:
            return u.reshape(len(u), *self.event_shape, *part.tangent_shape)

        if not isinstance(self.manifold, Product):
            return tangent(self.manifold, out)
        pieces = out.split(self.sizes, -1)
        return {name: tangent(part, u) for (name, part), u in zip(self.manifold.factors.items(), pieces, strict=True)}


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.context = nn.Linear(CONTEXT, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        return h + self.dropout(nn.functional.silu(self.inner(h) + self.context(context)))
