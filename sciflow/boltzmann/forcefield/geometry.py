"""Lengths, angles and torsions of many molecules at once, and their gradients.

Coordinates are ``(3, M, B)``: components first, the batch last, so that parameters ``(M, 1)`` broadcast along memory
and every operation is pointwise or a sum.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Angle", "AtomSums", "Torsion", "angle", "torsion"]

_TINY = 1e-12  # nm² and nm⁴: below it three atoms count as on a line


class Angle(NamedTuple):
    """Angle θ ``(M, B)`` in radians and its gradient ``(3, M, B)`` at the three atoms."""

    theta: Tensor
    gradient: tuple[Tensor, Tensor, Tensor]


class Torsion(NamedTuple):
    """cos φ, sin φ ``(M, B)`` and the gradient of φ ``(3, M, B)`` at the four atoms (IUPAC sign)."""

    cos: Tensor
    sin: Tensor
    gradient: tuple[Tensor, Tensor, Tensor, Tensor]

    @property
    def phi(self) -> Tensor:
        return torch.atan2(self.sin, self.cos)


def angle(i: Tensor, j: Tensor, k: Tensor) -> Angle:
    """Angle at ``j``. On a line its gradient, which has no direction there, is small instead of infinite."""
    a, c = i - j, k - j
    normal = torch.linalg.cross(a, c, dim=0)
    height = dot(normal, normal).clamp(min=_TINY).sqrt()
    theta = torch.atan2(height, dot(a, c))
    at_i = torch.linalg.cross(a, normal, dim=0) / (dot(a, a) * height)
    at_k = -torch.linalg.cross(c, normal, dim=0) / (dot(c, c) * height)
    return Angle(theta, (at_i, -(at_i + at_k), at_k))


def torsion(i: Tensor, j: Tensor, k: Tensor, m: Tensor) -> Torsion:
    """Torsion about the bond ``j``–``k`` (Blondel & Karplus, J. Comput. Chem. 17, 1132, 1996)."""
    f, g, h = i - j, j - k, m - k
    a, b = torch.linalg.cross(f, g, dim=0), torch.linalg.cross(h, g, dim=0)
    a2, b2 = dot(a, a).clamp(min=_TINY), dot(b, b).clamp(min=_TINY)
    g2 = dot(g, g)
    length = g2.sqrt()
    scale = (a2 * b2).rsqrt()
    cos = dot(a, b) * scale
    sin = dot(torch.linalg.cross(b, a, dim=0), g) / length * scale
    at_i, at_m = -length / a2 * a, length / b2 * b
    u, w = dot(f, g) / g2, dot(h, g) / g2
    shift = -u * at_i - w * at_m
    return Torsion(cos, sin, (at_i, shift - at_i, -shift - at_m, at_m))


def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(0)


class AtomSums(torch.nn.Module):
    """Sum of contributions ``(3, M, B)`` over the atoms that they act on: gathered, so without atomic additions.

    Args:
        atoms: ``(M,)`` the atom of each contribution.
        n: number of atoms.
    """

    def __init__(self, atoms: Tensor, n: int) -> None:
        super().__init__()
        rows = [torch.nonzero(atoms == i).flatten().tolist() for i in range(n)]
        width = max((len(row) for row in rows), default=0)
        table = [row + [len(atoms)] * (width - len(row)) for row in rows]  # the last contribution is zero
        self.register_buffer("table", torch.tensor(table, dtype=torch.long).reshape(n, width))
        self.table: Tensor

    def forward(self, contributions: Tensor) -> Tensor:
        padded = torch.cat([contributions, torch.zeros_like(contributions[:, :1])], 1)
        n, width = self.table.shape
        return padded.index_select(1, self.table.flatten()).unflatten(1, (n, width)).sum(2)
