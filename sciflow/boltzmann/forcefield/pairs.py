"""Terms of all pairs of atoms, on full matrices ``(N, N, B)``: twice the arithmetic, and no index anywhere."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["GeneralizedBorn", "Geometry", "NonBonded", "PairTerm", "Pairs"]


class Geometry(NamedTuple):
    """Squared distance, distance and its inverse ``(N, N, B)``; on the diagonal 0, 1 and 1."""

    r2: Tensor
    r: Tensor
    inverse: Tensor


class PairTerm(nn.Module, ABC):
    """An energy ``(B,)`` in kJ/mol and its derivative ``(N, N, B)`` by r² of each pair, symmetric."""

    @abstractmethod
    def forward(self, pair: Geometry) -> tuple[Tensor, Tensor]: ...

    def matrix(self, name: str, values: np.ndarray) -> None:
        """Constants ``(N, N)`` of all pairs, or ``(N,)`` of all atoms, with a last axis for the batch."""
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.float64)[..., None])


class NonBonded(PairTerm):
    """Lennard-Jones and Coulomb: a/r¹² − b/r⁶ + q (1/r + k_rf r² − c_rf).

    Args:
        a, b, q: symmetric ``(N, N)``, zero on the diagonal; q with the Coulomb constant in it.
        everywhere: ``(N, N)`` bool, pairs that have no cutoff and no reaction field (exceptions).
        cutoff: nm, or None.
        dielectric: of the reaction field beyond the cutoff (Tironi et al., J. Chem. Phys. 102, 5451, 1995).
    """

    a: Tensor
    b: Tensor
    q: Tensor
    q_field: Tensor
    everywhere: Tensor

    def __init__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        q: np.ndarray,
        everywhere: np.ndarray,
        cutoff: float | None = None,
        dielectric: float = 1.0,
    ) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.matrix("a", a)
        self.matrix("b", b)
        self.matrix("q", q)
        if cutoff is not None:
            self.k = (dielectric - 1) / (2 * dielectric + 1) / cutoff**3
            self.c = 3 * dielectric / (2 * dielectric + 1) / cutoff
            self.matrix("q_field", np.where(everywhere, 0, q))
            self.register_buffer("everywhere", torch.as_tensor(everywhere)[..., None])

    def forward(self, pair: Geometry) -> tuple[Tensor, Tensor]:
        inverse2 = pair.inverse * pair.inverse
        inverse6 = inverse2 * inverse2 * inverse2
        repulsion, attraction, coulomb = self.a * inverse6 * inverse6, self.b * inverse6, self.q * pair.inverse
        energy = repulsion - attraction + coulomb
        slope = inverse2 * (3 * attraction - 6 * repulsion - 0.5 * coulomb)
        if self.cutoff is not None:
            energy = energy + self.q_field * (self.k * pair.r2 - self.c)
            slope = slope + self.q_field * self.k
            inside = self.everywhere | (pair.r2 < self.cutoff**2)
            energy, slope = torch.where(inside, energy, 0), torch.where(inside, slope, 0)
        return 0.5 * energy.sum((0, 1)), slope


class GeneralizedBorn(PairTerm):
    """Generalized Born solvation with the radii of Onufriev, Bashford & Case, and a surface term.

        E = −½ Σᵢⱼ qᵢqⱼ (1/εᵢₙ − e^(−κf)/ε_out) / f + A Σᵢ (ρᵢ + 0.14)² (ρᵢ/Bᵢ)⁶,   f² = r² + BᵢBⱼ exp(−r²/4BᵢBⱼ)
        1/Bᵢ = 1/oᵢ − tanh(αψ − βψ² + γψ³)/ρᵢ,   ψ = oᵢ Iᵢ

    with Iᵢ the integral over the other atoms (Hawkins, Cramer & Truhlar, Chem. Phys. Lett. 246, 122, 1995).

    Args:
        charge: ``(N,)`` times the square root of the Coulomb constant.
        radius: ρ in nm; ``offset_radius`` o and ``scaled_radius`` s of the integral.
        polynomial: α, β, γ: (0.8, 0, 2.909125) is OBC1, (1, 0.8, 4.85) OBC2.
        solute, solvent: dielectric constants; ``kappa`` the inverse Debye length in 1/nm.
        surface: A in kJ/mol/nm².
        cutoff: nm, or None; pairs beyond it are left out and those within shifted by 1/cutoff.
        engulfed: whether the integral knows of atoms inside another's scaled sphere, as OpenMM's GBSAOBCForce does and
            its custom expressions do not.

    Source: Onufriev, Bashford & Case, Proteins 55, 383 (2004).
    """

    charges: Tensor
    radius: Tensor
    inverse_offset: Tensor
    offset_radius: Tensor
    wall: Tensor
    scaled: Tensor
    scaled2: Tensor
    shift: Tensor

    def __init__(
        self,
        charge: np.ndarray,
        radius: np.ndarray,
        offset_radius: np.ndarray,
        scaled_radius: np.ndarray,
        *,
        polynomial: tuple[float, float, float],
        solute: float,
        solvent: float,
        kappa: float,
        surface: float,
        cutoff: float | None,
        engulfed: bool,
    ) -> None:
        super().__init__()
        self.polynomial, self.kappa, self.surface = polynomial, kappa, surface
        self.solute, self.solvent, self.cutoff, self.engulfed = solute, solvent, cutoff, engulfed
        n = len(charge)
        self.matrix("charges", charge[:, None] * charge)
        self.matrix("radius", radius)
        self.matrix("offset_radius", offset_radius)
        self.matrix("inverse_offset", 1 / offset_radius[:, None])
        self.matrix("scaled", scaled_radius[None])
        self.matrix("scaled2", scaled_radius[None] ** 2)
        wall = np.broadcast_to(offset_radius[:, None], (n, n)).copy()
        np.fill_diagonal(wall, 1e3)  # nm: too large for an atom's own sphere to reach
        self.matrix("wall", wall)
        self.matrix("shift", (1 - np.eye(n)) / (cutoff or np.inf))

    def forward(self, pair: Geometry) -> tuple[Tensor, Tensor]:
        inside = None if self.cutoff is None else pair.r2 < self.cutoff**2
        integral, integral_slope = self._integral(pair, inside)
        born, born_slope = self._born(integral)
        product = born[:, None] * born
        quarter = 0.25 * pair.r2 / product
        gauss = torch.exp(-quarter)
        screened, screened_slope = self._screened((pair.r2 + product * gauss).rsqrt())
        energy, by_f2 = -0.5 * self.charges * screened, -self.charges * screened_slope
        if inside is not None:
            energy, by_f2 = torch.where(inside, energy, 0), torch.where(inside, by_f2, 0)
        by_product = by_f2 * gauss
        sphere = self.surface * (self.radius + 0.14).square() * (self.radius / born) ** 6
        by_born = (by_product * (1 + quarter) * born).sum(1) - 6 * sphere / born
        through_born = (by_born * born_slope)[:, None] * integral_slope
        slope = by_f2 - 0.25 * by_product + through_born + through_born.transpose(0, 1)
        return energy.sum((0, 1)) + sphere.sum(0), slope

    def _integral(self, pair: Geometry, inside: Tensor | None) -> tuple[Tensor, Tensor]:
        """I ``(N, B)``, and the derivative by r² of what atom j gives to atom i, ``(N, N, B)``."""
        near, far = pair.r - self.scaled, pair.r + self.scaled
        lower, upper = torch.maximum(near.abs(), self.wall).reciprocal(), far.reciprocal()
        squares = upper * upper - lower * lower
        curve = self.scaled2 * pair.inverse
        log = torch.log(upper / lower) * (0.25 * pair.inverse)
        part = 0.5 * (lower - upper) + 0.125 * (pair.r - curve) * squares + log
        slope = 0.125 * (1 + curve * pair.inverse) * squares - log * pair.inverse
        swallowed = near < -self.wall
        if self.engulfed:
            part = torch.where(swallowed, part + self.inverse_offset - lower, part)
        else:
            slope = torch.where(swallowed, slope + lower * lower, slope)
        reached = far >= self.wall if inside is None else inside & (far >= self.wall)
        slope = torch.where(reached, 0.5 * slope * pair.inverse, 0)
        return torch.where(reached, part, 0).sum(1), slope

    def _born(self, integral: Tensor) -> tuple[Tensor, Tensor]:
        """Born radii ``(N, B)`` and their derivative by the integral."""
        alpha, beta, gamma = self.polynomial
        psi = self.offset_radius * integral
        tanh = torch.tanh(psi * (alpha + psi * (gamma * psi - beta)))
        born = (1 / self.offset_radius - tanh / self.radius).reciprocal()
        steep = alpha + psi * (3 * gamma * psi - 2 * beta)
        return born, born * born * (1 - tanh * tanh) * steep * self.offset_radius / self.radius

    def _screened(self, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """(1/εᵢₙ − e^(−κf)/ε_out)(1/f − shift) at 1/f ``(N, N, B)``, and its derivative by f²."""
        shifted = inverse - self.shift if self.cutoff is not None else inverse
        if self.kappa == 0:
            factor = 1 / self.solute - 1 / self.solvent
            return factor * shifted, -0.5 * factor * inverse * inverse * inverse
        salt = torch.exp(-self.kappa / inverse) / self.solvent
        outer = 1 / self.solute - salt
        slope = 0.5 * self.kappa * salt * inverse * shifted - 0.5 * outer * inverse * inverse * inverse
        return outer * shifted, slope


class Pairs(nn.Module):
    """All terms of pairs of a molecule of ``n`` atoms; energy ``(B,)`` and gradient ``(3, N, B)``."""

    diagonal: Tensor

    def __init__(self, terms: list[PairTerm], n: int) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)
        self.register_buffer("diagonal", torch.eye(n, dtype=torch.float64)[..., None])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        dx, dy, dz = (c[:, None] - c[None] for c in x)
        r2 = torch.addcmul(torch.addcmul(dx * dx, dy, dy), dz, dz)
        inverse = (r2 + self.diagonal).rsqrt()
        pair = Geometry(r2, (r2 + self.diagonal) * inverse, inverse)
        energies, slopes = zip(*[term(pair) for term in self.terms], strict=True)
        slope = sum(slopes[1:], slopes[0])
        return sum(energies[1:], energies[0]), 2 * torch.stack([(slope * d).sum(1) for d in (dx, dy, dz)])
