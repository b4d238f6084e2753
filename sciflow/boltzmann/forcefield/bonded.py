"""Bonds, angles, torsions and correction maps: terms of few atoms.

Each is called with positions ``(3, N, B)`` in nm and returns the energy ``(B,)`` in kJ/mol and the gradient at each of
its atoms, ``(3, M, B)`` in the order of ``atoms (M,)``.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline, PPoly
from torch import Tensor, nn

from .geometry import AtomSums, Torsion, angle, dot, torsion

__all__ = ["Angles", "Bonded", "Bonds", "Impropers", "LennardJones14", "Maps", "Torsions"]

Few = list[Tensor]


class Term(nn.Module, ABC):
    """A sum over groups of atoms: ``groups (K, M)`` says which."""

    groups: Tensor

    def __init__(self, groups: list[Any]) -> None:
        super().__init__()
        self.register_buffer("groups", torch.tensor(groups, dtype=torch.long).T.contiguous())

    @property
    def atoms(self) -> Tensor:
        return self.groups.flatten()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        energy, gradient = self.of([x.index_select(1, group) for group in self.groups])
        return energy.sum(0), torch.cat(gradient, 1)

    @abstractmethod
    def of(self, atoms: Few) -> tuple[Tensor, Few]:
        """Energy ``(M, B)`` and gradient at each atom of the group, from its positions ``(3, M, B)``."""

    def parameter(self, name: str, values: Any) -> None:
        """Constant of every group, in double precision until the module is moved."""
        self.register_buffer(name, torch.as_tensor(np.asarray(values, float), dtype=torch.float64))


class Bonds(Term):
    """½k(r − r₀)²; rows i, j, r₀ (nm), k (kJ/mol/nm²)."""

    length: Tensor
    k: Tensor

    def __init__(self, rows: list[list[Any]]) -> None:
        super().__init__([row[:2] for row in rows])
        self.parameter("length", [[row[2]] for row in rows])
        self.parameter("k", [[row[3]] for row in rows])

    def of(self, atoms: Few) -> tuple[Tensor, Few]:
        d = atoms[0] - atoms[1]
        r = dot(d, d).sqrt()
        stretch = r - self.length
        pull = self.k * stretch
        slope = pull / r * d
        return 0.5 * pull * stretch, [slope, -slope]


class Angles(Term):
    """½k(θ − θ₀)²; rows i, j, k, θ₀ (rad), k (kJ/mol/rad²)."""

    theta: Tensor
    k: Tensor

    def __init__(self, rows: list[list[Any]]) -> None:
        super().__init__([row[:3] for row in rows])
        self.parameter("theta", [[row[3]] for row in rows])
        self.parameter("k", [[row[4]] for row in rows])

    def of(self, atoms: Few) -> tuple[Tensor, Few]:
        bent = angle(*atoms)
        strain = bent.theta - self.theta
        torque = self.k * strain
        return 0.5 * torque * strain, [torque * g for g in bent.gradient]


class Torsions(Term):
    """Fourier series Σₙ cₙ cos nφ + sₙ sin nφ, by the recurrence of cos nφ and sin nφ.

    Args:
        series: ``cₙ, sₙ (n_max + 1, 2)`` in kJ/mol for each four atoms.
    """

    c: Tensor
    s: Tensor

    def __init__(self, series: dict[tuple[int, int, int, int], np.ndarray]) -> None:
        super().__init__(list(series))
        order = max(len(table) for table in series.values())
        padded = np.stack([np.pad(table, ((0, order - len(table)), (0, 0))) for table in series.values()], 1)
        self.parameter("c", padded[..., :1])
        self.parameter("s", padded[..., 1:])

    def of(self, atoms: Few) -> tuple[Tensor, Few]:
        phi = torsion(*atoms)
        energy = self.c[0] + self.c[1] * phi.cos + self.s[1] * phi.sin
        slope = self.s[1] * phi.cos - self.c[1] * phi.sin
        cos, sin = phi.cos, phi.sin
        for n in range(2, len(self.c)):
            cos, sin = cos * phi.cos - sin * phi.sin, sin * phi.cos + cos * phi.sin
            energy = energy + self.c[n] * cos + self.s[n] * sin
            slope = slope + n * (self.s[n] * cos - self.c[n] * sin)
        return energy, [slope * g for g in phi.gradient]


class Impropers(Term):
    """k(φ − φ₀)² with φ between −π and π; rows i, j, k, l, k (kJ/mol/rad²), φ₀ (rad)."""

    k: Tensor
    phi: Tensor

    def __init__(self, rows: list[list[Any]]) -> None:
        super().__init__([row[:4] for row in rows])
        self.parameter("k", [[row[4]] for row in rows])
        self.parameter("phi", [[row[5]] for row in rows])

    def of(self, atoms: Few) -> tuple[Tensor, Few]:
        turned = torsion(*atoms)
        strain = turned.phi - self.phi
        torque = 2 * self.k * strain
        return 0.5 * torque * strain, [torque * g for g in turned.gradient]


class LennardJones14(Term):
    """4ε((σ/r)¹² − (σ/r)⁶) of listed pairs; rows i, j, σ (nm), ε (kJ/mol)."""

    sigma2: Tensor
    epsilon: Tensor

    def __init__(self, rows: list[list[Any]]) -> None:
        super().__init__([row[:2] for row in rows])
        self.parameter("sigma2", [[row[2] ** 2] for row in rows])
        self.parameter("epsilon", [[row[3]] for row in rows])

    def of(self, atoms: Few) -> tuple[Tensor, Few]:
        d = atoms[0] - atoms[1]
        inverse2 = dot(d, d).reciprocal()
        sixth = (self.sigma2 * inverse2) ** 3
        slope = 24 * self.epsilon * inverse2 * sixth * (1 - 2 * sixth) * d
        return 4 * self.epsilon * sixth * (sixth - 1), [slope, -slope]


class Maps(Term):
    """Correction maps (CMAP): a periodic bicubic spline of two torsions; groups of eight atoms.

    Args:
        groups: the four atoms of φ and the four of ψ.
        maps: energies ``(n, n)`` in kJ/mol of each group, at φ (row) and ψ (column) 0, 2π/n, …

    Source: Mackerell, Feig & Brooks, J. Am. Chem. Soc. 126, 698 (2004).
    """

    patches: Tensor

    def __init__(self, groups: list[tuple[int, ...]], maps: list[np.ndarray]) -> None:
        super().__init__(groups)
        self.parameter("patches", np.stack([_patches(m) for m in maps]))

    def of(self, atoms: Few) -> tuple[Tensor, Few]:
        first, second = torsion(*atoms[:4]), torsion(*atoms[4:])
        n = self.patches.shape[1]
        (i, t), (j, u) = _cell(first, n), _cell(second, n)
        group = torch.arange(len(self.patches), device=t.device)[:, None]
        a = self.patches[group, i, j]  # (M, B, 4, 4): powers of t, then of u
        powers_u = torch.stack([torch.ones_like(u), u, u * u, u * u * u], -1)
        slopes_u = torch.stack([torch.zeros_like(u), torch.ones_like(u), 2 * u, 3 * u * u], -1)
        in_t, in_t_slope = (a * powers_u[..., None, :]).sum(-1), (a * slopes_u[..., None, :]).sum(-1)
        powers_t = torch.stack([torch.ones_like(t), t, t * t, t * t * t], -1)
        slopes_t = torch.stack([torch.zeros_like(t), torch.ones_like(t), 2 * t, 3 * t * t], -1)
        energy, width = (in_t * powers_t).sum(-1), 2 * torch.pi / n
        first_slope, second_slope = (in_t * slopes_t).sum(-1) / width, (in_t_slope * powers_t).sum(-1) / width
        return energy, [first_slope * g for g in first.gradient] + [second_slope * g for g in second.gradient]


def _cell(phi: Torsion, n: int) -> tuple[Tensor, Tensor]:
    """Index of the cell that φ lies in, and where in it, from 0 to 1."""
    place = torch.remainder(phi.phi.nan_to_num() * (n / (2 * torch.pi)), n)
    cell = place.detach().floor().clamp(max=n - 1)
    return cell.long(), place - cell


def _patches(values: np.ndarray) -> np.ndarray:
    """Coefficients ``(n, n, 4, 4)`` of tᵃuᵇ in every cell, t and u from 0 to 1."""
    along_psi = _periodic(values.T)  # (4, n cells, n)
    patches = np.stack([_periodic(c.T) for c in along_psi])  # power of u, power of t, cell of φ, cell of ψ
    return patches.transpose(2, 3, 1, 0)


def _periodic(values: np.ndarray) -> np.ndarray:
    """Powers (rising) of the periodic cubic spline through ``values (n, …)`` in each of its cells of width one."""
    nodes = np.arange(len(values) + 1)
    spline: PPoly = CubicSpline(nodes, np.concatenate([values, values[:1]]), bc_type="periodic")
    return spline.c[::-1]


class Bonded(nn.Module):
    """All terms of few atoms of a molecule of ``n`` atoms; energy ``(B,)`` and gradient ``(3, N, B)``."""

    def __init__(self, terms: list[Term], n: int) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)
        self.sums = AtomSums(torch.cat([term.atoms for term in terms]), n)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        energies, gradients = zip(*[term(x) for term in self.terms], strict=True)
        return sum(energies[1:], energies[0]), self.sums(torch.cat(gradients, 1))
