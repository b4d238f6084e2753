"""What dynamics at room temperature never changes: the handedness of centres, and cis or trans at peptide bonds."""

from dataclasses import dataclass

import torch
from openmm import app
from torch import Tensor

from .zmatrix import neighbours

__all__ = ["Stereochemistry"]


@dataclass
class Stereochemistry:
    """Handedness of every four-bonded centre (labelled hydrogens included), and cis or trans of every peptide bond.

    ``centres (C, 4)`` are three neighbours and the centre itself, ``handedness (C,)`` the sign of their triple product;
    ``peptide_bonds (K, 4)`` are the atoms of each ω: C, C, N, C, and ``trans (K,)`` whether |ω| > 90°.
    """

    centres: Tensor
    handedness: Tensor
    peptide_bonds: Tensor
    trans: Tensor

    @classmethod
    def of(cls, topology: app.Topology, positions: Tensor) -> "Stereochemistry":
        """That of a molecule at ``positions (N, 3)``."""
        near = neighbours(topology)
        centres = torch.tensor([[*sorted(n)[:3], i] for i, n in enumerate(near) if len(n) == 4]).reshape(-1, 4)
        bonds = _peptide_bonds(topology, near)
        return cls(centres, _sign(positions.double(), centres), bonds, _trans(positions.double(), bonds))

    def kept(self, x: Tensor) -> Tensor:
        """Which of the frames ``x (B, N, 3)`` have it, ``(B,)``."""
        x = x.double()
        same_bonds = (_trans(x, self.peptide_bonds) == self.trans.to(x.device)).all(-1)
        return same_bonds & (_sign(x, self.centres) == self.handedness.to(x.device)).all(-1)


def _trans(x: Tensor, bonds: Tensor) -> Tensor:
    """Whether the two ends lie on opposite sides of the bond: cos ω < 0."""
    a, b, c, d = (x[..., bonds[:, k], :] for k in range(4))
    return (torch.linalg.cross(b - a, c - b) * torch.linalg.cross(c - b, d - c)).sum(-1) < 0


def _sign(x: Tensor, centres: Tensor) -> Tensor:
    a, b, c = (x[..., centres[:, k], :] - x[..., centres[:, 3], :] for k in range(3))
    return torch.sign((torch.linalg.cross(a, b) * c).sum(-1))


def _peptide_bonds(topology: app.Topology, near: list[set[int]]) -> Tensor:
    atoms = list(topology.atoms())
    rows = []
    for bond in topology.bonds():
        c, n = sorted((bond[0], bond[1]), key=lambda atom: atom.name)
        if (c.name, n.name) == ("C", "N") and c.residue is not n.residue:
            before = next(i for i in sorted(near[c.index]) if atoms[i].element.symbol == "C")
            after = next(i for i in sorted(near[n.index] - {c.index}) if atoms[i].name in ("CA", "C", "CH3"))
            rows.append([before, c.index, n.index, after])
    return torch.tensor(rows, dtype=torch.long).reshape(-1, 4)
