"""Densities on a mesh that are linear in each face."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...rng import Generator, uniform
from .mesh import Mesh

__all__ = ["PiecewiseLinear", "eigenfunction_density"]

_NODES = 24  # of the quadrature in each direction; f log f keeps it at six digits where f vanishes on an edge


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    """The density ``p(x) = Σ_i λ_i(x) f_i / Z``, linear in each face, from values ``f_i ≥ 0 (V,)`` at the vertices.

    Samples are exact: within a face the density is a mixture, with weights ``f_i``, of three Dirichlet densities
    ``∝ λ_i`` of the barycentric coordinates.

    Raises:
        InputError: for values that are negative, not one a vertex, or all zero.
    """

    mesh: Mesh
    values: Tensor

    def __post_init__(self) -> None:
        values = torch.as_tensor(self.values, dtype=torch.float64)
        object.__setattr__(self, "values", values)
        if values.shape != (len(self.mesh.vertices),) or not (values >= 0).all() or not values.any():
            raise InputError(f"values of shape {tuple(values.shape)}: give one ≥ 0 a vertex, not all 0")

    @cached_property
    def _corner_masses(self) -> Tensor:
        """``∫ f_i λ_i`` of every corner of every face ``(F, 3)``."""
        surface = self.mesh.surface(self.values)
        return surface.areas[:, None] / 3 * self.values[surface.faces]

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw points ``(*shape, 3)``."""
        draws = uniform(*shape, 4, generator=generator, dtype=dtype, device=device)
        which, spacing = draws[..., 0].double(), draws[..., 1:].sort(-1).values
        share = self._corner_masses.to(draws.device).flatten().cumsum(0)
        chosen = torch.searchsorted(share, which * share[-1], right=True).clamp_max(len(share) - 1)
        edges = torch.nn.functional.pad(spacing, (1, 1))
        edges[..., -1] = 1
        parts = edges.diff(dim=-1)  # Dirichlet(1, 1, 1, 1); two parts together: Dirichlet(2, 1, 1)
        b = parts[..., 1:] + torch.nn.functional.pad(parts[..., :1], (0, 2))
        b = b.gather(-1, (torch.arange(3, device=b.device) - chosen[..., None]) % 3)  # the larger to the chosen corner
        surface = self.mesh.surface(b)
        return surface.ambient(chosen.flatten() // 3, b.reshape(-1, 3)).reshape(*shape, 3)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` by area of ``x (B, *E, 3)``, summed over E; −∞ where it vanishes."""
        f = self.mesh.interpolate(self.values, x).clamp_min(0)
        return (f.log() - math.log(float(self._corner_masses.sum()))).reshape(len(x), -1).sum(1)

    def entropy(self) -> float:
        """``−∫ p log p`` by area, in nats: the least negative log-likelihood that any model can have."""
        surface = self.mesh.surface(self.values)
        nodes, weights = (torch.as_tensor(a) for a in np.polynomial.legendre.leggauss(_NODES))
        s, w = (nodes + 1) / 2, weights / 2
        r, t = s[:, None], s[None]
        b = torch.stack([(1 - r).expand(-1, _NODES), r * (1 - t), r * t], -1).flatten(0, 1)
        weight = (2 * w[:, None] * r * w[None]).flatten()  # the square, folded into the triangle
        p = self.values[surface.faces].sort(1).values @ b.T / float(self._corner_masses.sum())
        return -float(torch.einsum("f,fq,q->", surface.areas, torch.special.xlogy(p, p), weight))


def eigenfunction_density(mesh: Mesh, k: int) -> PiecewiseLinear:
    """The benchmark's target: the positive part of the k-th eigenfunction (k from 1, the constant not counted).

    Thresholded at the vertices, so that it is linear in each face.

    Source: Chen, Lipman 2023 (arXiv 2302.03660), section 5.

    Raises:
        InputError: when the mesh does not keep that many modes.
    """
    if not 1 <= k <= mesh.modes:
        raise InputError(f"k={k}: the mesh keeps modes 1 to {mesh.modes}; make it with more modes")
    return PiecewiseLinear(mesh, mesh.spectrum.eigenfunctions[:, k - 1].clamp_min(0))
