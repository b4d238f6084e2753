"""Which hydrogens of a molecule are interchangeable by turning a bond."""

from openmm import app
from torch import Tensor

from .zmatrix import neighbours

__all__ = ["rotors"]


def rotors(topology: app.Topology, rows: Tensor) -> list[list[int]]:
    """Three hydrogens each, as the Z-matrix ``rows (N, 4)`` place them: those of methyls and of ammonium ends.

    A turn by 120° hands their labels on, and no force field tells them apart.
    """
    near = neighbours(topology)
    hydrogens = {a.index for a in topology.atoms() if a.element is not None and a.element.atomic_number == 1}
    on = {centre: near_it & hydrogens for centre, near_it in enumerate(near) if len(near_it) == 4}
    turning = {centre: three for centre, three in on.items() if len(three) == 3}
    placed: dict[int, list[int]] = {centre: [] for centre in turning}
    for atom, bonded, *_ in rows.tolist():
        if atom in turning.get(bonded, ()):
            placed[bonded].append(atom)
    return list(placed.values())
