"""Meshes from files."""

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from ...errors import InputError

__all__ = ["read_mesh"]


def read_mesh(path: str | Path, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Vertices ``(V, 3)``, times ``scale``, and faces ``(F, 3)`` of an OBJ, PLY or STL file, as ``Mesh`` takes them.

    A point of a mesh is known by its place alone, so vertices in one place become one (STL writes every corner by
    itself, OBJ a vertex for each texture coordinate), and vertices of no face are left out.

    Raises:
        InputError: when the file is missing, cannot be read, or holds no faces.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a mesh as OBJ, PLY or STL")
    try:
        mesh: Any = trimesh.load(path, process=False, force="mesh")
    except Exception as error:  # trimesh raises whatever its parsers do
        raise InputError(f"{path}: not a mesh that can be read ({error}); give OBJ, PLY or STL") from error
    faces = np.asarray(getattr(mesh, "faces", ()), dtype=np.int64).reshape(-1, 3)
    if not len(faces):
        raise InputError(f"{path}: no faces; give a triangle mesh")
    corners: np.ndarray = np.array(mesh.vertices, dtype=float)[faces].reshape(-1, 3)
    _, first, place = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # vertices in the order in which the faces name them
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return scale * corners[first[order]], rank[place.ravel()].reshape(-1, 3)
