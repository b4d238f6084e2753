"""A residual multilayer perceptron on any manifold: the field for small and fixed dimensions."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..manifolds import SO3, FlatTorus, Manifold, Product, State, leaves
from .embedding import TimeEmbedding
from .field import Field

__all__ = ["MLPField", "features"]

# Of each angle: enough to tell the wells of a torsion apart, few enough to stay smooth.
HARMONICS = 3


class MLPField(Field):
    """Residual MLP that sees the whole event at once.

    The state enters through ``features``, well defined on the manifold (an angle and the same angle + 2π, a
    quaternion and its negative are one point); the output, of ``tangent_shape`` at every place of the event, is
    projected to the tangent space at ``x``. Time and condition are added in every block.

    Args:
        manifold: where the states live; a ``Product`` takes and returns dictionaries.
        event_shape: ``E``, the axes between batch and point; shared by the factors of a ``Product``.
        width: of the hidden layers.
        depth: number of residual blocks.
        cond_dim: numbers per sample in the conditions together. They are flattened and joined in the order of
            their names, so any keyword of ``velocity`` is welcome.
    """

    def __init__(
        self,
        manifold: Manifold[Any],
        event_shape: tuple[int, ...] = (),
        width: int = 128,
        depth: int = 3,
        cond_dim: int = 0,
    ) -> None:
        super().__init__(manifold)
        self.event_shape = tuple(event_shape)
        self.cond_dim = cond_dim
        places = math.prod(self.event_shape)
        parts = manifold.factors if isinstance(manifold, Product) else {"": manifold}
        self.sizes = [places * math.prod(part.tangent_shape) for part in parts.values()]
        self.inward = nn.Linear(places * sum(map(_feature_dim, parts.values())), width)
        self.time = TimeEmbedding(width)
        self.condition = nn.Linear(cond_dim, width) if cond_dim else None
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.outward = nn.Linear(width, sum(self.sizes))

    def velocity(self, x: State, t: Tensor, **cond: Tensor) -> State:
        h = self.inward(_joined(features(self.manifold, x)))
        context = self.time(t) + self._condition(cond)
        for block in self.blocks:
            h = block(h, context)
        return self.manifold.proju(x, self._split(self.outward(h)))

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


def features(manifold: Manifold[Any], x: Any) -> Any:
    """Coordinates that are smooth and single-valued on the manifold, ``(B, *E, F)``.

    The first harmonics ``sin kx, cos kx`` on the torus, the products ``q_i q_j`` of the quaternion on SO(3) (even in
    ``q``), the ambient coordinates elsewhere; factor by factor on a ``Product``.
    """
    if isinstance(manifold, Product):
        return {name: features(part, x[name]) for name, part in manifold.factors.items()}
    if isinstance(manifold, FlatTorus):
        angle = torch.cat([k * x for k in range(1, HARMONICS + 1)], -1)
        return torch.cat([angle.sin(), angle.cos()], -1)
    if isinstance(manifold, SO3):
        i, j = torch.triu_indices(4, 4, device=x.device)
        return x[..., i] * x[..., j]
    return x.flatten(-len(manifold.point_shape)) if manifold.point_shape else x[..., None]


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.context = nn.Linear(width, width)
        self.net = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        return h + self.net(self.norm(h) + self.context(context))


def _feature_dim(manifold: Manifold[Any]) -> int:
    return features(manifold, torch.zeros(1, *manifold.point_shape)).shape[-1]


def _joined(x: State) -> Tensor:
    return torch.cat([part.flatten(1) for part in leaves(x)], -1)
