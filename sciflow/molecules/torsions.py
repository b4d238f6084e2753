"""The two torsions that everybody looks at."""

import mdtraj
import numpy as np

from ..errors import InputError

__all__ = ["phi_psi"]


def phi_psi(x: np.ndarray, topology: mdtraj.Topology) -> np.ndarray:
    """φ and ψ ``(B, 2)`` in radians of the first residue that has both, for frames ``x (B, N, 3)``.

    Raises:
        InputError: no residue has both.
    """
    trajectory = mdtraj.Trajectory(np.asarray(x, np.float32), topology)
    phi, psi = mdtraj.compute_phi(trajectory), mdtraj.compute_psi(trajectory)
    shared = [(i, j) for i, a in enumerate(phi[0]) for j, b in enumerate(psi[0]) if (a[1:] == b[:3]).all()]
    if not shared:
        raise InputError("the molecule has no residue with both φ and ψ; cap it, e.g. sequence=ACE-ALA-NME")
    i, j = shared[0]
    return np.stack([phi[1][:, i], psi[1][:, j]], 1)
