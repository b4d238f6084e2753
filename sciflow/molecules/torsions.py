"""The two torsions of a residue that everybody looks at."""

import mdtraj
import numpy as np

from ..errors import InputError

__all__ = ["backbone_residues", "phi_psi"]


def phi_psi(x: np.ndarray, topology: mdtraj.Topology) -> np.ndarray:
    """φ and ψ ``(B, R, 2)`` in radians of the R residues that have both, for frames ``x (B, N, 3)``.

    Raises:
        InputError: no residue has both.
    """
    trajectory = mdtraj.Trajectory(np.asarray(x, np.float32), topology)
    phi, psi = mdtraj.compute_phi(trajectory), mdtraj.compute_psi(trajectory)
    pairs = _shared(phi[0], psi[0])
    return np.stack([phi[1][:, [i for i, _ in pairs]], psi[1][:, [j for _, j in pairs]]], -1)


def backbone_residues(topology: mdtraj.Topology) -> list[str]:
    """Names of those residues, such as ``ALA2``. Raises InputError as :func:`phi_psi` does."""
    still = mdtraj.Trajectory(np.zeros((1, topology.n_atoms, 3), np.float32), topology)
    phi, psi = mdtraj.compute_phi(still)[0], mdtraj.compute_psi(still)[0]
    return [str(topology.atom(phi[i][2]).residue) for i, _ in _shared(phi, psi)]


def _shared(phi: np.ndarray, psi: np.ndarray) -> list[tuple[int, int]]:
    """Rows of the atoms of φ (C N CA C) and ψ (N CA C N) that are those of one residue."""
    pairs = [(i, j) for i, a in enumerate(phi) for j, b in enumerate(psi) if (a[1:] == b[:3]).all()]
    if not pairs:
        raise InputError("the molecule has no residue with both φ and ψ; cap it, e.g. sequence=ACE-ALA-NME")
    return pairs
