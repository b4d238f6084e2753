"""Atoms placed by bond, angle and torsion relative to atoms that already stand."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Placement", "bend"]


class Placement(nn.Module):
    r"""The rows of a Z-matrix whose four atoms are all there, on top of a core of atoms placed otherwise.

    Their volume, :math:`d^3x_i = b^2 \sin a \; db \, da \, d\tau` each, is independent of how the core is described.

    Args:
        core: the C atoms that stand, in the order in which `place` is given them.
        rows: LongTensor (M, 4) of atoms (i, j, k, l): references in the core or placed by rows above.
    """

    rows: Tensor
    order: Tensor
    references: Tensor
    atoms: Tensor

    def __init__(self, core: Sequence[int], rows: Tensor) -> None:
        super().__init__()
        level = dict.fromkeys(core, 0)
        for atom, *references in rows.tolist():
            level[atom] = 1 + max(level[reference] for reference in references)
        # Atoms in order of placement: a level is what can be placed in one operation, once those before it stand.
        levels = [level[int(atom)] for atom in rows[:, 0]]
        order = sorted(range(len(rows)), key=levels.__getitem__)
        place = {atom: p for p, atom in enumerate([*core, *(int(rows[n, 0]) for n in order)])}
        self.level_sizes = [levels.count(n) for n in range(1, max(levels, default=0) + 1)]
        for name, index in {
            "rows": rows,
            "order": torch.tensor(order, dtype=torch.long),
            "references": torch.tensor([[place[r] for r in rows[n, 1:].tolist()] for n in order]).long().reshape(-1, 3),
            "atoms": torch.tensor([place[atom] for atom in sorted(place)]),
        }.items():
            self.register_buffer(name, index, persistent=False)

    def measure(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bonds (nm), angles and torsions (rad, in (−π, π]) of x (…, N, 3), each (…, M)."""
        atom, bonded, angle, dihedral = self.rows.unbind(-1)
        u, axis, w = (x[..., other, :] - x[..., bonded, :] for other in (atom, angle, dihedral))
        normal, reference = torch.linalg.cross(axis, u), torch.linalg.cross(axis, w)
        sine = _dot(torch.linalg.cross(normal, reference), axis) / torch.linalg.vector_norm(axis, dim=-1)
        torsions = torch.atan2(sine, _dot(normal, reference))
        torsions = torch.where(torsions <= -math.pi, torsions + 2 * math.pi, torsions)
        return torch.linalg.vector_norm(u, dim=-1), bend(axis, u), torsions

    def place(self, core: Tensor, bonds: Tensor, angles: Tensor, torsions: Tensor) -> Tensor:
        """All atoms (…, N, 3), by index, from the core (…, C, 3) and bonds, angles, torsions (…, M)."""
        b, a, tau = (q.index_select(-1, self.order) for q in (bonds, angles, torsions))
        # Displacement of each atom in the frame that its three references span.
        local = b[..., None] * torch.stack((a.cos(), a.sin() * tau.cos(), a.sin() * tau.sin()), -1)
        x, start = core, 0
        for size in self.level_sizes:
            rows = slice(start, start + size)
            x = torch.cat((x, _place(x, self.references[rows], local[..., rows, :])), -2)
            start += size
        return x.index_select(-2, self.atoms)


def bend(u: Tensor, v: Tensor) -> Tensor:
    """Angles in [0, π] between u and v (…, 3)."""
    return torch.atan2(torch.linalg.vector_norm(torch.linalg.cross(u, v), dim=-1), _dot(u, v))


def _place(x: Tensor, references: Tensor, local: Tensor) -> Tensor:
    j, k, l = (x.index_select(-2, references[:, n]) for n in range(3))  # noqa: E741
    axis = torch.nn.functional.normalize(k - j, dim=-1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(l - j, axis), dim=-1)
    frame = torch.stack((axis, torch.linalg.cross(axis, normal), normal), -1)
    return j + (frame @ local[..., None]).squeeze(-1)


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum(-1)
