"""Z-matrix of a molecule from its bond graph."""

import torch
from openmm import app
from torch import Tensor

from ..errors import InputError

__all__ = ["backbone", "neighbours", "zmatrix"]


def zmatrix(topology: app.Topology) -> Tensor:
    """Rows ``(atom, bonded, angle, dihedral)``, every atom after its references; ``(N, 4)`` int64.

    The first three rows (padded with −1) are a backbone N, CA, C where there is one. The first atom placed on a
    rotatable bond carries the proper torsion; its siblings are placed *relative to it* (an improper that hardly moves),
    so that one number turns one bond: φ and ψ appear as themselves, and each methyl has a single circular coordinate.

    Raises:
        InputError: the topology is not one bonded molecule of at least four atoms.
    """
    atoms = list(topology.atoms())
    near = neighbours(topology)
    heavy_first = sorted(range(len(atoms)), key=lambda i: (_is_hydrogen(atoms[i]), -len(near[i]), i))
    root = _root(atoms, near, heavy_first)
    rows = [[root[0], -1, -1, -1], [root[1], root[0], -1, -1], [root[2], root[1], root[0], -1]]
    placed = set(root)
    children: dict[tuple[int, int], int] = {(root[1], root[0]): root[2]}  # (bonded, angle) -> first atom placed there
    queue = list(root)
    while queue:
        bonded = queue.pop(0)
        for atom in sorted(near[bonded] - placed, key=heavy_first.index):
            angle = _first(near[bonded] & placed, rows, atoms)
            first = children.setdefault((bonded, angle), atom)
            dihedral = first if first != atom else _first((near[angle] & placed) - {bonded}, rows, atoms)
            rows.append([atom, bonded, angle, dihedral])
            placed.add(atom)
            queue.append(atom)
    if len(placed) < len(atoms):
        raise InputError(
            f"the topology has atoms that no bond joins to {atoms[root[0]].residue.name}:{atoms[root[0]].name}; "
            "give one molecule (remove water, ions and further chains)"
        )
    return torch.tensor(rows)


def backbone(topology: app.Topology, rows: Tensor) -> list[int]:
    """N, CA and C of all residues, and the first three atoms of the Z-matrix ``rows (N, 4)`` in any case."""
    named = {atom.index for atom in topology.atoms() if atom.name in ("N", "CA", "C", "CH3")}
    return sorted(named | set(rows[:3, 0].tolist()))


def neighbours(topology: app.Topology) -> list[set[int]]:
    """For each atom, the atoms bonded to it."""
    near: list[set[int]] = [set() for _ in range(topology.getNumAtoms())]
    for bond in topology.bonds():
        near[bond[0].index].add(bond[1].index)
        near[bond[1].index].add(bond[0].index)
    return near


def _root(atoms: list[app.topology.Atom], near: list[set[int]], heavy_first: list[int]) -> list[int]:
    for atom in atoms:
        if atom.name == "CA":
            named = {atoms[i].name: i for i in near[atom.index] if atoms[i].residue is atom.residue}
            if {"N", "C"} <= named.keys():
                return [named["N"], atom.index, named["C"]]
    for middle in heavy_first:
        if len(near[middle]) >= 2 and len(atoms) >= 4:
            a, b = sorted(near[middle], key=heavy_first.index)[:2]
            return [a, middle, b]
    raise InputError(f"a molecule of {len(atoms)} atoms has no torsion; give one with at least four bonded atoms")


def _first(candidates: set[int], rows: list[list[int]], atoms: list[app.topology.Atom]) -> int:
    """The candidate that was placed first, heavy atoms before hydrogens."""
    order = {row[0]: k for k, row in enumerate(rows)}
    return min(candidates, key=lambda i: (_is_hydrogen(atoms[i]), order[i]))


def _is_hydrogen(atom: app.topology.Atom) -> bool:
    return atom.element is not None and atom.element.atomic_number == 1
