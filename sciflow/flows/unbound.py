"""Internal coordinates on the whole real line, so that no draw of a normal base is an impossible molecule."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..manifolds import wrap
from .transform import ModuleTransform

__all__ = ["Unbound", "circular_torsions"]


class Unbound(ModuleTransform):
    r"""Spreads each internal coordinate over the real line, except torsions that go round the circle.

    b ↦ log b, a ↦ log tan(a/2), τ ↦ 2 tan((τ − c)/2) for torsions that stay near c, τ ↦ τ for circular ones. Bonds stay
    positive, angles inside (0, π), and a linear torsion is unwrapped around c: the flow is then a bijection everywhere,
    which raw coordinates with normal tails are not (a torsion in the tail would have two latents and a wrong density).

    Args:
        centre: (T,) circular means c of the torsions, in radians.
        circular: BoolTensor (T,), the torsions left as they are.
        sizes: how many real numbers that are left as they are, bonds, angles, and torsions, in this order, make a
            vector (…, D): the ``sizes`` of `InternalCoordinates` or `MixedCoordinates`.
    """

    centre: Tensor
    circular: Tensor

    def __init__(self, centre: Tensor, circular: Tensor, sizes: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.sizes = sizes
        self.register_buffer("centre", centre)
        self.register_buffer("circular", circular)

    def call_and_ladj(self, x: Float[Tensor, "*batch D"]) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        numbers, bonds, angles, torsions = x.to(self.centre.dtype).split(self.sizes, -1)
        number = 2 * (wrap(torsions - self.centre) / 2).tan()
        torsions = torch.where(self.circular, torsions, number)
        y = torch.cat((numbers, bonds.log(), (angles / 2).tan().log(), torsions), -1)
        return y, -self._log_volume(bonds.log(), angles.sin().log(), number)

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        numbers, log_bonds, angles, torsions = y.to(self.centre.dtype).split(self.sizes, -1)
        near = wrap(self.centre + 2 * (torsions / 2).atan())
        near = torch.where(self.circular, torsions, near)
        x = torch.cat((numbers, log_bonds.exp(), 2 * angles.exp().atan(), near), -1)
        log_sines = math.log(2) - torch.logaddexp(angles, -angles)
        return x, self._log_volume(log_bonds, log_sines, torsions)

    def _log_volume(self, log_bonds: Tensor, log_sines: Tensor, number: Tensor) -> Tensor:
        squeeze = torch.where(self.circular, 0.0, (number / 2).square()).log1p()
        return log_bonds.sum(-1) + log_sines.sum(-1) - squeeze.sum(-1)


def circular_torsions(torsions: Tensor, window: float = 2.5) -> tuple[Tensor, Tensor]:
    """Circular means (N−3,) of torsions (frames, N−3), and which of them have frames further than ``window`` from it.

    A torsion that never leaves the window (relative impropers, ω) is a number around its mean; others go round.
    """
    centre = torch.atan2(torsions.sin().mean(0), torsions.cos().mean(0))
    return centre, (wrap(torsions - centre).abs() > window).any(0)
