"""The symmetries of a crystal of rigid waters, and what they make of its configurations."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...manifolds.quaternion import from_matrix, to_matrix
from .ice import Ice

__all__ = ["Symmetry", "symmetries"]

_SAME = 1e-6  # nm, and entries of a rotation matrix


class Symmetry(NamedTuple):
    """x ↦ S x + t, under which the crystal is itself: molecule ``source[i]`` comes to the site of molecule i.

    A reflected water is a turned one: it is its own mirror image.
    """

    axes: Tensor
    shift: Tensor
    source: Tensor

    def __call__(self, ice: Ice, x: Tensor) -> Tensor:
        """Configurations (…, N, 7) of the same energy, molecules near the sites that are now theirs, body 0 pinned."""
        x = x[..., self.source, :]
        axes, box = self.axes.to(x), x.new_tensor(ice.box)
        place = x[..., :3] * axes + self.shift.to(x)
        apart = place - ice.sites[:, :3].to(x)
        place = place - box * (apart / box).round()
        turn = _turned(axes, x[..., 3:])
        # Half a turn about the bisector exchanges the protons, which are alike: of the two names, that of the site.
        other = torch.stack((-turn[..., 3], turn[..., 2], -turn[..., 1], turn[..., 0]), -1)
        site = ice.sites[:, 3:].to(x)
        nearer = (turn * site).sum(-1, keepdim=True).abs() >= (other * site).sum(-1, keepdim=True).abs()
        return ice.pinned(torch.cat((place, torch.where(nearer, turn, other)), -1))


def symmetries(ice: Ice) -> list[Symmetry]:
    """Translations, half turns, mirrors, screws and glides with axes along the edges of the box, the identity first."""
    sites, box = ice.sites, torch.tensor(ice.box, dtype=torch.float64)
    atoms = ice.atoms(sites)
    found = []
    for signs in torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=torch.float64)] * 3):
        for target in range(ice.molecules):
            shift = sites[target, :3] - signs * sites[0, :3]
            moved = signs * atoms + shift
            d = moved[:, None, 0] - atoms[None, :, 0]
            d = (d - box * (d / box).round()).norm(dim=-1)
            goes = d.argmin(1)
            if (d.amin(1) > _SAME).any():
                continue
            bonds, there = (a[:, 1:3] - a[:, :1] for a in (moved, atoms[goes]))
            same = (bonds - there).abs().amax((1, 2)) < _SAME
            crossed = (bonds - there.flip(1)).abs().amax((1, 2)) < _SAME
            if (same | crossed).all():
                found.append(Symmetry(signs, shift, goes.argsort()))
    return sorted(
        found, key=lambda s: bool((s.axes < 0).any() or s.shift.abs().max() > _SAME)
    )  # stable: identity first


def _turned(axes: Tensor, q: Tensor) -> Tensor:
    """Quaternions of S R, or of S R M where S is a reflection, M the mirror of the molecule's plane (y ↦ −y)."""
    matrix = axes[:, None] * to_matrix(q)
    mirror = torch.stack((axes.new_ones(()), axes.prod(), axes.new_ones(())))
    return from_matrix(matrix * mirror)
