"""Kernels on a surface: what a density on it must beat."""

import math

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.linalg import splu
from torch import Tensor

from ..manifolds import Mesh
from ..manifolds.mesh.spectrum import cotangent_laplacian
from .floors import SHARES, Floors, mixture_weights

__all__ = ["diffused", "mesh_floors"]

TIMES = np.logspace(-5, -0.5, 19)  # of diffusion, in areas over 4π
STEPS = 4  # of the implicit Euler scheme: kernels near the normal one, and nowhere negative
LEAST = 1e-30


def diffused(mesh: Mesh, x: Tensor, time: float) -> Tensor:
    """The points ``x (N, 3)``, diffused over the surface for a ``time`` [length²]: a density at the vertices ``(V,)``.

    ``(M + τS)ᵐ u = Mᵐ⁻¹ λ(x)``, τ = time/m: the heat kernel on every point, in the functions that are linear in each
    face. Heat does not pass walls. The variance of a kernel in the plane is ``2·time`` each way.
    """
    stiffness, mass = cotangent_laplacian(mesh.surface(torch.zeros((), dtype=torch.float64)))
    face, b = mesh.locate(x.double())
    b = b.clamp_min(0)
    corners = mesh.surface(b).faces[face]
    weight = (b / b.sum(1, keepdim=True)).numpy().ravel() / len(x)
    load = np.bincount(corners.numpy().ravel(), weight, minlength=len(mass))
    solve = splu((scipy.sparse.diags(mass) + time / STEPS * stiffness).tocsc()).solve
    u = solve(load)
    for _ in range(STEPS - 1):
        u = solve(mass * u)
    return torch.from_numpy(u).clamp_min(0)


def mesh_floors(mesh: Mesh, train: Tensor, val: Tensor, test: Tensor) -> Floors:
    """Diffused training points, alone and mixed with the uniform density; settings chosen on validation data."""
    area = math.exp(mesh.log_volume)
    widths = [float(time) * area / (4 * math.pi) for time in TIMES]
    densities = torch.stack([diffused(mesh, train, width) for width in widths], 1)
    kernel, judged = (mesh.interpolate(densities, x.double()).T for x in (val, test))
    alone = int(_log(kernel).mean(1).argmax())
    shares = torch.tensor(SHARES, dtype=kernel.dtype)[:, None, None]
    mixed = _log((1 - shares) * kernel + shares / area).mean(-1)
    share, width = divmod(int(mixed.argmax()), len(widths))
    both = (1 - SHARES[share]) * judged[width] + SHARES[share] / area
    uniform = torch.full_like(kernel[:1], -mesh.log_volume)
    weights = mixture_weights(torch.cat([_log(kernel), uniform]))
    all_widths = torch.einsum("wn,w->n", torch.cat([judged, torch.full_like(judged[:1], 1 / area)]), weights)
    return Floors(
        prior=mesh.log_volume,
        kde=-float(_log(judged[alone]).mean()),
        mixture=-float(_log(both).mean()),
        widths=-float(_log(all_widths).mean()),
    )


def _log(p: Tensor) -> Tensor:
    return p.clamp_min(LEAST).log()
