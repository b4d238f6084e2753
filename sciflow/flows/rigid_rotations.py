"""Flows of a single rotation."""

import torch
from torch import Tensor, nn

from ..manifolds import SO3
from ..rng import normal, step_generator
from .normalizing_flow import NormalizingFlow
from .rigid_potential import ConvexPotential
from .transform import Composed, ModuleTransform

__all__ = ["RotationLayer", "rotation_flow"]

GENTLE = -2.0  # of the power before its sigmoid, at the start


class RotationLayer(ModuleTransform):
    """Gradient of a convex function of unit quaternions (…, 4): data to latent in closed form, as likelihoods need it,
    latent to data by Newton's method.

    The map is `ConvexPotential`. Densities are with respect to the Haar measure of volume 8π², tangents of which are
    body-frame rotation vectors (`sciflow.manifolds.SO3`). The map and its inverse commute with q ↦ −q exactly.

    Args:
        directions: K, of the potential.
        seed: names the initial directions.
    """

    def __init__(self, directions: int = 24, seed: int = 0) -> None:
        super().__init__()
        a = 0.7 * normal(4 * directions, generator=step_generator(seed))
        rest = torch.zeros(directions)
        self.raw = nn.Parameter(torch.cat((a, rest, rest.new_full((1,), GENTLE))))

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        potential, q = self._on(x)
        y, ladj = potential.call_and_ladj(q)
        return y.view(x.shape), ladj.view(x.shape[:-1])

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        potential, q = self._on(y)
        x, ladj = potential.inverse_and_ladj(q)
        return x.view(y.shape), ladj.view(y.shape[:-1])

    def _on(self, q: Tensor) -> tuple[ConvexPotential, Tensor]:
        q = q.to(self.raw.dtype).reshape(-1, 4)
        return ConvexPotential(self.raw.expand(len(q), -1)), q


def rotation_flow(layers: int = 4, directions: int = 24, seed: int = 0) -> NormalizingFlow:
    """Flow on SO(3), unit quaternions (B, 4), from the uniform law by gradients of convex functions."""
    return NormalizingFlow(
        SO3().prior(), Composed(*(RotationLayer(directions, 1000 * seed + n) for n in range(layers)))
    )
