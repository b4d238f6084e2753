"""Densities on surfaces that are known: eigenfunctions on closed ones, rooms at the ends of mazes."""

from collections.abc import Sequence

import numpy as np
import torch

from ..errors import InputError
from ..manifolds import Mesh, PiecewiseLinear, eigenfunction_density

__all__ = ["PUBLISHED", "ROOMS", "eigenfunction_target", "rooms"]

#: Test NLL in print by premetric, surface and k (Chen & Lipman 2023, arXiv:2302.03660).
PUBLISHED = {
    "biharmonic": {"bunny": {10: 1.06, 50: 1.55, 100: 1.49}, "spot": {10: 1.02, 50: 1.08, 100: 1.29}},
    "diffusion": {"bunny": {10: 1.16, 50: 1.48, 100: 1.53}, "spot": {10: 0.87, 50: 0.95, 100: 1.08}},
}
#: Where flows through a maze begin and where they end (x, y).
ROOMS = {
    "maze_3x3": ([(1.5, 1.5)], [(0.5, 0.5), (2.5, 2.5)]),
    "maze_4x4": ([(2.5, 2.5)], [(0.5, 0.5), (0.5, 3.5), (3.5, 0.5)]),
}
RADIUS = 0.4  # of a room; its walls are farther away
REST = 1e-4  # of the height of a room's density, everywhere else: a flow may come from, or go, anywhere


def eigenfunction_target(mesh: Mesh, k: int) -> PiecewiseLinear:
    """The positive part of the k-th eigenfunction. Raises InputError where the mesh has too few."""
    if k > mesh.modes:
        raise InputError(f"data.eigenfunction={k}: this surface of {len(mesh.vertices)} vertices has {mesh.modes}")
    return eigenfunction_density(mesh, k)


def rooms(mesh: Mesh, centres: Sequence[tuple[float, float]], rest: float = 0.0) -> PiecewiseLinear:
    """``(1 − r²/R²)²`` around each centre, and ``rest`` everywhere."""
    apart = np.linalg.norm(mesh.vertices[:, None, :2] - np.array(centres), axis=-1)
    height = np.clip(1 - (apart / RADIUS) ** 2, 0, None) ** 2
    return PiecewiseLinear(mesh, torch.from_numpy(np.maximum(height.max(1), rest)))
