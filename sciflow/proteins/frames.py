"""Residues as rigid frames and torsions, and the way back to all heavy atoms.

The frame of a residue has its origin in CA, e1 = unit(C − CA), e2 = N − CA made orthogonal to e1, e3 = e1 × e2. A
rotatable bond b→c carries a frame of the same kind: origin c, e1 = unit(c − b), e2 towards the atom a before them,
turned about e1 by the torsion. In its frame each rigid group has constant coordinates, which ``ideal.csv`` lists (see
its header). ψ is there to place O, half a turn away from the next N: N-CA-C-O = ψ + π. Lengths in nm, angles in rad.
"""

import csv
import math
from importlib import resources
from typing import NamedTuple

import torch
from torch import Tensor

from ..manifolds import wrap
from ..manifolds.quaternion import from_matrix, to_matrix
from .residues import ATOMS, CHIS, GROUPS, HAS_ATOM, HAS_TORSION, THREE

__all__ = ["all_atoms", "axes", "backbone", "dihedral", "follows", "frames", "psi", "torsions"]


def frames(n: Tensor, ca: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Translation (…, 3) and rotation (…, 4), a unit quaternion, of residues with those atoms (…, 3).

    ``global = translation + R·local``; gradients stay finite where the three atoms lie on a line.
    """
    return ca, from_matrix(axes(n, ca, c))


def backbone(translation: Tensor, rotation: Tensor) -> Tensor:
    """Ideal N, CA, C (…, 3, 3) of frames: the inverse of :func:`frames`."""
    local = _IDEAL.local[-1, :3].to(translation)
    return translation[..., None, :] + torch.einsum("...ij,aj->...ai", to_matrix(rotation), local)


def torsions(atoms: Tensor, atom_mask: Tensor, aatype: Tensor, follows: Tensor) -> tuple[Tensor, Tensor]:
    """ψ, χ1 … χ4 (…, N, 5) in (−π, π], zero where they are unknown, and where they are known.

    Args:
        atoms: (…, N, 14, 3) in the order of ``ATOMS``.
        atom_mask: (…, N, 14), atoms that are there.
        aatype: (…, N), 0 … 20.
        follows: (…, N), residues that the next one is bonded to; its N gives ψ where O is missing.
    """
    table = _ideal(atoms)
    quads = table.quads[aatype]  # (…, N, 5, 4)
    points = atoms[..., None, :, :].expand(*quads.shape[:-1], 14, 3).gather(
        -2, quads[..., None].expand(*quads.shape, 3)
    )  # fmt: skip
    there = atom_mask[..., None, :].expand(*quads.shape[:-1], 14).gather(-1, quads)
    angles = dihedral(*points.unbind(-2))
    known = there.all(-1) & table.has_torsion[aatype]
    following = follows & atom_mask[..., :3].all(-1) & atom_mask[..., 0].roll(-1, -1)
    to_next = dihedral(atoms[..., 0, :], atoms[..., 1, :], atoms[..., 2, :], atoms[..., 0, :].roll(-1, -2))
    by_next = following & ~known[..., 0]
    psi = torch.where(by_next, to_next, wrap(angles[..., 0] + math.pi))
    angles = torch.cat([psi[..., None], angles[..., 1:]], -1)
    known = torch.cat([(known[..., 0] | by_next)[..., None], known[..., 1:]], -1)
    return torch.where(known, angles, 0.0), known


def psi(translation: Tensor, rotation: Tensor, follows: Tensor) -> Tensor:
    """Torsions (…, N, 5) of bare frames: ψ from the ideal N of the next residue, zero where none follows; χ zero."""
    n, ca, c = backbone(translation, rotation).unbind(-2)
    angle = torch.where(follows, dihedral(n, ca, c, n.roll(-1, -2)), 0.0)
    return torch.cat([angle[..., None], angle.new_zeros(*angle.shape, 4)], -1)


def all_atoms(state: dict[str, Tensor], aatype: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Heavy atoms (…, N, 14, 3) of a state, and which of them there are (…, N, 14); the others are zero.

    Args:
        state: ``translation`` (…, N, 3), ``rotation`` (…, N, 4), ``torsions`` (…, N, 5).
        aatype: (…, N), 0 … 20; of X the backbone is built.
        mask: (…, N), residues that are there.
    """
    translation, angles = state["translation"], state["torsions"]
    table = _ideal(translation)
    turn, origin = to_matrix(state["rotation"]), translation
    turns, origins = [turn], [origin]
    for k in range(5):  # ψ turns about a bond of the backbone, χ1 too; every further χ about one of the group before
        if k == 1:
            turn, origin = turns[0], translation
        origin = origin + _apply(turn, table.hinge[aatype, k])
        turn = turn @ table.rest[aatype, k] @ _about_x(angles[..., k])
        turns.append(turn)
        origins.append(origin)
    group = table.group[aatype]  # (…, N, 14)
    turn = torch.stack(turns, -3).gather(-3, group[..., None, None].expand(*group.shape, 3, 3))
    origin = torch.stack(origins, -2).gather(-2, group[..., None].expand(*group.shape, 3))
    atom_mask = mask[..., None] & table.has_atom[aatype]
    return torch.where(atom_mask[..., None], origin + _apply(turn, table.local[aatype]), 0.0), atom_mask


def follows(residue_index: Tensor, chain: Tensor, mask: Tensor) -> Tensor:
    """(…, N): residues with a bond to the next one, of the same chain and the next number."""
    after = (residue_index.roll(-1, -1) == residue_index + 1) & (chain.roll(-1, -1) == chain) & mask.roll(-1, -1)
    last = torch.arange(mask.shape[-1], device=mask.device) == mask.shape[-1] - 1
    return mask & after & ~last


def axes(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """(…, 3, 3), columns e1 = unit(c − b), e2 = a − b made orthogonal to it, e3 = e1 × e2; of N, CA, C: a residue's."""
    e1 = _unit(c - b)
    arm = a - b
    e2 = _unit(arm - (arm * e1).sum(-1, keepdim=True) * e1)
    return torch.stack([e1, e2, torch.linalg.cross(e1, e2)], -1)


def dihedral(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Torsion angle (…) in (−π, π] of points (…, 3), positive clockwise along b→c; zero where it is undefined."""
    y, z = ((d - c)[..., None, :] @ axes(a, b, c))[..., 0, 1:].unbind(-1)
    defined = (y != 0) | (z != 0)
    return wrap(torch.atan2(torch.where(defined, z, 0.0), torch.where(defined, y, 1.0)))


def _unit(v: Tensor) -> Tensor:
    """v/|v|, zero with a zero derivative where v vanishes to rounding (lengths are of the order of 0.1 nm)."""
    square = (v * v).sum(-1, keepdim=True)
    long = square > torch.finfo(v.dtype).eps ** 2
    return torch.where(long, v * torch.where(long, square, 1.0).rsqrt(), 0.0)


def _apply(turn: Tensor, vectors: Tensor) -> Tensor:
    return (turn @ vectors[..., None])[..., 0]


def _about_x(angle: Tensor) -> Tensor:
    cos, sin, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    rows = [one, zero, zero, zero, cos, -sin, zero, sin, cos]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


class _Ideal(NamedTuple):
    """What is known of each of the 21 types."""

    local: Tensor  # (21, 14, 3) in the frame of the atom's group
    group: Tensor  # (21, 14)
    has_atom: Tensor  # (21, 14)
    has_torsion: Tensor  # (21, 5)
    quads: Tensor  # (21, 5, 4) places of the atoms of N-CA-C-O and of each χ
    hinge: Tensor  # (21, 5, 3) origin of the frame of each torsion in the frame that carries it
    rest: Tensor  # (21, 5, 3, 3) its axes there, where the torsion is zero


def _ideal(like: Tensor) -> _Ideal:
    """The table where ``like`` is, its coordinates in the same precision."""
    return _Ideal(*(t.to(like.device, like.dtype if t.is_floating_point() else t.dtype) for t in _IDEAL))


def _measured() -> _Ideal:
    local = torch.zeros(21, 14, 3, dtype=torch.float64)
    with (resources.files("sciflow.proteins") / "ideal.csv").open() as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            for aa in [THREE.index(row["residue"])] if row["residue"] != "any" else range(21):
                local[aa, ATOMS[aa].index(row["atom"])] = torch.tensor([float(row[k]) / 10 for k in "xyz"])
    group = torch.zeros(21, 14, dtype=torch.long)
    quads = torch.tensor([0, 1, 2, 3]).repeat(21, 5, 1)
    hinge = torch.zeros(21, 5, 3, dtype=torch.float64)
    rest = torch.eye(3, dtype=torch.float64).repeat(21, 5, 1, 1)
    hinge[:, 0] = local[0, 2]  # ψ turns about CA–C, whose axes are those of the residue
    for aa in range(21):
        group[aa, : len(GROUPS[aa])] = torch.tensor(GROUPS[aa])
        for k, names in enumerate(CHIS[aa], 1):
            quads[aa, k] = torch.tensor([ATOMS[aa].index(name) for name in names])
            a, b, c = local[aa, quads[aa, k, :3]]
            if k > 1:  # b is where the carrying frame has its origin, and a before it on the axis
                b = torch.zeros(3, dtype=torch.float64)
                a = torch.tensor([-1.0, 0.0, 0.0], dtype=torch.float64)
            hinge[aa, k], rest[aa, k] = c, axes(a, b, c)
    return _Ideal(local, group, HAS_ATOM, HAS_TORSION, quads, hinge, rest)


_IDEAL = _measured()
