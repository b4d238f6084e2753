"""Interchangeable atoms on a rotating centre, such as the hydrogens of a methyl: one labelling stands for all."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..manifolds import wrap
from .transform import ModuleTransform

__all__ = ["Rotors"]

_THIRD = 2 * math.pi / 3


class Rotors(ModuleTransform):
    r"""Internal coordinates modulo the turn of each rotor by a label: three wells of a methyl become one.

    Three equal atoms stand round an axis: one at the torsion τ, the others by relative torsions 0 < δ₂ < δ₃ < 2π after
    it. Handing the labels on, the first atom's to the second, …, leaves the energy as it is and adds exactly 2π/3 to
    τ + (δ₂ + δ₃)/3. Of the three labellings the one with :math:`τ + (δ_2 + δ_3)/3 ∈ c ± π/3` is taken; bonds, angles
    and relative torsions follow their atoms, and τ becomes the angle :math:`u = 3 (τ + (δ_2 + δ_3)/3 - c)`, once round
    the circle where the three labels meet.

    As a map of that domain it is a bijection with ladj = log 3 a rotor. Frames outside of it are relabelled first, so a
    flow through it gives all labellings of a frame the same density, that of the frames in the domain: a third, per
    rotor, of the labellings, with a third of the partition function. Weights and averages of what does not tell
    the atoms apart are those of the whole ensemble.

    Args:
        rotors: LongTensor (M, 3), which torsions belong to each rotor, in their order (δ₂ < δ₃) round the axis.
        centre: (M,) angles c.
        sizes: see `Unbound`.
    """

    rotors: Tensor
    centre: Tensor

    def __init__(self, rotors: Tensor, centre: Tensor, sizes: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.sizes = sizes
        self.register_buffer("rotors", rotors)
        self.register_buffer("centre", centre)

    @classmethod
    def fit(
        cls, rows: Tensor, rotors: Sequence[Sequence[int]], y: Tensor, sizes: tuple[int, int, int, int]
    ) -> "Rotors":
        """With the seam, where labels are handed on, as far as can be from the frames ``y`` (n, D).

        Args:
            rows: (T, 4) rows of the Z-matrix, one a torsion.
            rotors: three atoms each: one placed by a proper torsion, the others relative to it.

        Raises:
            InputError: atoms that are not placed that way.
        """
        place = {int(atom): t for t, atom in enumerate(rows[:, 0])}
        for first, *others in rotors:
            ways = [rows[place[atom]].tolist() for atom in (first, *others) if atom in place]
            if len(ways) < 3 or any(way[1:] != [*ways[0][1:3], first] for way in ways[1:]):
                raise InputError(f"rotor {[first, *others]}: place its second and third atom relative to the first")
        index = torch.tensor([[place[atom] for atom in rotor] for rotor in rotors])
        torsions = y[:, -sizes[3] :]
        second, third = (torch.remainder(torsions[:, index[:, k]], 2 * math.pi) for k in (1, 2))
        swapped = (second > third).double().mean(0) > 0.5
        index = torch.where(swapped[:, None], index[:, [0, 2, 1]], index)
        turns = 3 * torsions[:, index[:, 0]] + second + third
        return cls(index, torch.atan2(turns.sin().mean(0), turns.cos().mean(0)) / 3, sizes)

    def call_and_ladj(self, x: Float[Tensor, "*batch D"]) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        x = x.to(self.centre.dtype)
        numbers, bonds, angles, torsions = x.split(self.sizes, -1)
        turned = torch.remainder(torsions[..., self.rotors], 2 * math.pi)
        first, offsets = turned[..., 0], torch.cat((torch.zeros_like(turned[..., :1]), turned[..., 1:]), -1)
        turn = wrap(first + offsets.sum(-1) / 3 - self.centre)
        labels = (torch.arange(3, device=x.device) - (turn / _THIRD).round().long()[..., None]) % 3
        offsets = offsets.gather(-1, labels)
        offsets = torch.remainder(offsets[..., 1:] - offsets[..., :1], 2 * math.pi)
        after = torch.cat((wrap(3 * turn)[..., None], wrap(offsets)), -1)
        # Bonds and angles have entries before those of the rows with a torsion.
        bonds, angles = (self._handed_on(q, q.shape[-1] - self.sizes[3], labels) for q in (bonds, angles))
        y = torch.cat((numbers, bonds, angles, self._put(torsions, self.rotors, after)), -1)
        return y, self._ladj(y)

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        y = y.to(self.centre.dtype)
        rest, torsions = y.split((y.shape[-1] - self.sizes[3], self.sizes[3]), -1)
        turned = torsions[..., self.rotors]
        offsets = torch.remainder(turned[..., 1:], 2 * math.pi)
        first = wrap(self.centre + (turned[..., 0] - offsets.sum(-1)) / 3)
        before = torch.cat((first[..., None], turned[..., 1:]), -1)
        return torch.cat((rest, self._put(torsions, self.rotors, before)), -1), -self._ladj(y)

    def _handed_on(self, values: Tensor, skipped: int, labels: Tensor) -> Tensor:
        index = self.rotors + skipped
        return self._put(values, index, values[..., index].gather(-1, labels))

    @staticmethod
    def _put(values: Tensor, index: Tensor, new: Tensor) -> Tensor:
        return values.index_copy(-1, index.flatten(), new.flatten(-2))

    def _ladj(self, y: Tensor) -> Tensor:
        return y.new_full(y.shape[:-1], len(self.rotors) * math.log(3))
