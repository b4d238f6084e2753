"""A rigid tetrahedron in an external field: orientations with several modes, and an exact constant."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...manifolds import SO3
from ...manifolds.quaternion import about, multiply, to_matrix
from ...rng import Generator, normal
from ...rng import uniform as uniform_draws
from .base import ExactTarget

__all__ = ["TETRAHEDRON", "Tetrahedron", "turns_of_so3"]

_KEPT = 1e-4  # of the rotations that are tried, at least: a minute or two for ten thousand draws

# The corners of a regular tetrahedron on the unit sphere.
TETRAHEDRON = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64) / math.sqrt(3)


@dataclass(frozen=True)
class Tetrahedron(ExactTarget):
    r"""Orientations q (B, 4) of a rigid tetrahedron with charges c_i at its corners v_i, in the field of a potential.

    .. math:: U(R) = \sum_i c_i\, Φ(R v_i), \qquad Φ(r) = -3\sqrt3\, κ\, r_x r_y r_z - E \cdot r.

    The cubic term is that of a tetrahedral surrounding (−κ where a corner points to one of its own): with equal charges
    and no E the twelve rotations of the tetrahedron are equally good and all others are worse. Unequal charges make the
    wells differ in depth, the uniform field E tilts them. With κ = 0 what is left is a dipole d = Σ c_i v_i, and

    .. math:: Z = 8π^2 \frac{\sinh(|E||d|/T)}{|E||d|/T}.

    Densities are with respect to the Haar measure of volume 8π². ``log_z`` is by quadrature on SO(3), which converges
    exponentially: to rounding at a temperature of 1, to 1e-6 at a quarter of it. Draws are exact, by rejection from
    the uniform law; ``sample`` raises InputError where that keeps less than one of ten thousand.

    Rigid bodies in an external field are a test of Köhler, Invernizzi, de Haan & Noé 2023 (arXiv:2301.11355); the
    constants here are ours.
    """

    charges: tuple[float, float, float, float] = (1.6, 1.3, 1.0, 0.7)
    cubic: float = 2.0
    uniform: tuple[float, float, float] = (0.0, 0.0, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, n in (("charges", 4), ("uniform", 3)):
            if len(getattr(self, name)) != n:
                raise InputError(f"{name}={list(getattr(self, name))}: give {n} numbers")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (4,)

    @property
    def dof(self) -> int:
        return 3

    def corners(self, q: Tensor) -> Tensor:
        """Places of the corners, (…, 4, 3)."""
        return torch.einsum("...ij,kj->...ki", to_matrix(q), TETRAHEDRON.to(q))

    def potential(self, x: Tensor) -> Tensor:
        r = self.corners(x / torch.linalg.vector_norm(x, dim=-1, keepdim=True))
        outer = -3 * math.sqrt(3) * self.cubic * r.prod(-1) - r @ r.new_tensor(self.uniform)
        return outer @ outer.new_tensor(self.charges)

    @cached_property
    def log_z(self) -> float:
        q, log_weight = turns_of_so3(32)
        return float(torch.logsumexp(log_weight - self.energy(q), 0))

    def sample(self, n: int, generator: Generator = None) -> Tensor:
        kept = math.exp(self.log_z - math.log(8 * math.pi**2) + self._lowest)
        if kept < _KEPT:
            raise InputError(
                f"temperature={self.temperature:g}: 1 of {1 / kept:.1e} rotations would be kept as a draw; take "
                "a higher temperature, or smaller charges or fields"
            )
        if generator is None or isinstance(generator, torch.Generator):
            return self._rejection(n, generator)
        return torch.cat([self._rejection(1, g) for g in generator])

    @property
    def _lowest(self) -> float:
        """A number that no energy is below."""
        dipole = float(torch.linalg.vector_norm(torch.tensor(self.charges, dtype=torch.float64) @ TETRAHEDRON))
        bound = abs(self.cubic) * sum(map(abs, self.charges)) + math.hypot(*self.uniform) * dipole  # 3√3 |xyz| ≤ 1
        return -bound / self.temperature

    def _rejection(self, n: int, generator: torch.Generator | None) -> Tensor:
        kept: list[Tensor] = []
        while sum(map(len, kept)) < n:
            q = SO3().projx(normal(4096, 4, generator=generator, dtype=torch.float64))
            height = uniform_draws(4096, generator=generator, dtype=torch.float64).log()
            kept.append(q[height < self._lowest - self.energy(q)])
        return torch.cat(kept)[:n]


def turns_of_so3(n: int) -> tuple[Tensor, Tensor]:
    """Quadrature on SO(3): quaternions (4n³, 4) and the logarithms of their weights, which add up to 8π².

    R = R_z(α) R_y(β) R_z(γ): equal steps of α and γ, Gauss–Legendre in cos β; exact for matrix elements of all
    representations of order below n.
    """
    heights, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(n))
    around = torch.arange(2 * n, dtype=torch.float64) * math.pi / n
    alpha, beta, gamma = torch.meshgrid(around, heights.acos(), around, indexing="ij")
    first, second, third = (about(angle.flatten(), axis) for angle, axis in ((alpha, 3), (beta, 2), (gamma, 3)))
    log_weight = (weights[:, None] * (math.pi / n) ** 2).log().expand(2 * n, n, 2 * n).flatten()
    return multiply(multiply(first, second), third), log_weight
