"""Point charges and Lennard-Jones centres of rigid molecules in a periodic box, many configurations at once."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["COULOMB", "Ewald", "lennard_jones", "lennard_jones_tail"]

COULOMB = 138.93545764438198  # e²/4πε₀ in kJ/mol nm, as in OpenMM


class Ewald:
    r"""Electrostatic energy of charges in an orthorhombic box with conducting surroundings, by Ewald's sum.

    .. math::
        U = f \sum_{i<j}' q_i q_j \frac{\mathrm{erfc}(α r_{ij})}{r_{ij}}
            + \frac{2πf}{V} \sum_{k \ne 0} \frac{e^{-k^2/4α^2}}{k^2} |S(k)|^2 - \frac{fα}{\sqrtπ} \sum_i q_i^2
            - f \sum_{(ij)} q_i q_j \frac{\mathrm{erf}(α r_{ij})}{r_{ij}}

    with S(k) = Σ q_j exp(ik·r_j); the first sum is over nearest images of other molecules within the cutoff, the last
    over pairs of one molecule, which is rigid: both last terms are constants.

    Args:
        box: edges in nm.
        charges: (S,) of one molecule, in e.
        body: (S, 3) its sites in nm.
        molecules: N.
        cutoff: of the first sum in nm, at most half of the shortest edge.
        tolerance: relative size of what is left out of both sums; α = √(−log 2·tolerance)/cutoff.

    Source: Ewald 1921; the choice of α is OpenMM's.
    """

    def __init__(
        self,
        box: Sequence[float],
        charges: Tensor,
        body: Tensor,
        molecules: int,
        cutoff: float,
        tolerance: float = 1e-6,
    ) -> None:
        self.box, self.cutoff = tuple(box), cutoff
        self.alpha = math.sqrt(-math.log(2 * tolerance)) / cutoff
        self.charges = charges.repeat(molecules)
        molecule = torch.arange(molecules).repeat_interleave(len(charges))
        first, second = torch.triu_indices(len(molecule), len(molecule), 1)
        apart = molecule[first] != molecule[second]
        self.first, self.second = first[apart], second[apart]
        # e^{−k²/4α²} falls as fast as erfc(α r): both sums end where their terms are as small.
        reach = 2 * self.alpha * math.sqrt(-math.log(tolerance))
        self.waves = [math.ceil(reach * edge / (2 * math.pi)) for edge in box]
        numbers = [torch.arange(0 if axis == 0 else -n, n + 1).double() for axis, n in enumerate(self.waves)]
        k = torch.stack(
            torch.meshgrid(*(2 * math.pi * n / edge for n, edge in zip(numbers, box, strict=True)), indexing="ij")
        )
        square = k.square().sum(0)
        # Half of the waves, each counted twice, but for those of k_x = 0, which are all there; and none of k = 0.
        both = torch.where(k[0] == 0, 1.0, 2.0)
        strength = torch.where(square == 0, 0.0, both * (-square / (4 * self.alpha**2)).exp() / square.clamp(min=1e-9))
        self.strength = COULOMB * 2 * math.pi / math.prod(box) * strength
        self.constant = molecules * self._constant(charges.double(), body.double())

    def __call__(self, r: Tensor) -> Tensor:
        """Energies (B,) in kJ/mol of sites r (B, N·S, 3), molecule by molecule."""
        return self.direct(r) + self.reciprocal(r) + self.constant

    def direct(self, r: Tensor) -> Tensor:
        """Nearest images of other molecules (B,)."""
        distance = nearest_distance(r, self.first.to(r.device), self.second.to(r.device), self.box)
        q = self.charges.to(r)
        strength = COULOMB * q[self.first.to(r.device)] * q[self.second.to(r.device)]
        pair = strength * torch.erfc(self.alpha * distance) / distance
        return torch.where(distance < self.cutoff, pair, 0.0).sum(-1)

    def reciprocal(self, r: Tensor) -> Tensor:
        """All waves (B,); the structure factor is a matrix product of phases along x and y with those along z."""
        phases = []
        for axis, (n, edge) in enumerate(zip(self.waves, self.box, strict=True)):
            number = torch.arange(0 if axis == 0 else -n, n + 1, device=r.device)
            angle = (2 * math.pi / edge) * r[..., axis, None] * number
            phases.append(torch.polar(torch.ones_like(angle), angle))
        x, y, z = phases
        plane = (self.charges.to(r)[:, None, None] * x[..., :, None] * y[..., None, :]).flatten(-2)
        factor = torch.view_as_real((plane.mT @ z).unflatten(-2, (x.shape[-1], y.shape[-1])))
        return (self.strength.to(r)[..., None] * factor.square()).flatten(1).sum(-1)

    def _constant(self, charges: Tensor, body: Tensor) -> float:
        i, j = torch.triu_indices(len(charges), len(charges), 1)
        distance = torch.linalg.vector_norm(body[i] - body[j], dim=-1)
        within = (charges[i] * charges[j] * torch.erf(self.alpha * distance) / distance).sum()
        return -COULOMB * float(self.alpha / math.sqrt(math.pi) * charges.square().sum() + within)


def lennard_jones(
    r: Tensor, box: Sequence[float], sigma: float, epsilon: float, cutoff: float, switch: float
) -> Tensor:
    """Σ_{i<j} 4ε((σ/r)¹² − (σ/r)⁶)·S(r) (B,) of nearest images of r (B, N, 3) within the cutoff.

    S = 1 − 10t³ + 15t⁴ − 6t⁵ with t = (r − switch)/(cutoff − switch): from one at ``switch`` to nothing at the cutoff,
    with two continuous derivatives, as in OpenMM. A sharp cutoff where both are the same.
    """
    i, j = torch.triu_indices(r.shape[-2], r.shape[-2], 1, device=r.device)
    distance = nearest_distance(r, i, j, box)
    pair = _lennard_jones(distance, sigma, epsilon)
    if switch < cutoff:
        pair = pair * (1 - _switched_off(distance, switch, cutoff))
    return torch.where(distance < cutoff, pair, 0.0).sum(-1)


def lennard_jones_tail(sigma: float, epsilon: float, cutoff: float, switch: float) -> float:
    """∫ r² dr of what `lennard_jones` leaves out of a pair, in kJ/mol nm³."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(32))  # to rounding
    width = cutoff - switch
    r = switch + width * (nodes + 1) / 2
    between = _lennard_jones(r, sigma, epsilon) * r.square() * _switched_off(r, switch, cutoff) if width else r * 0
    ratio = (sigma / cutoff) ** 3
    beyond = 4 * epsilon * sigma**3 * (ratio**3 / 9 - ratio / 3)
    return float(weights @ between) * width / 2 + beyond


def _lennard_jones(distance: Tensor, sigma: float, epsilon: float) -> Tensor:
    sixth = (sigma / distance) ** 6
    return 4 * epsilon * (sixth * sixth - sixth)


def _switched_off(distance: Tensor, switch: float, cutoff: float) -> Tensor:
    """1 − S."""
    t = ((distance - switch) / (cutoff - switch)).clamp(0, 1)
    return t**3 * (10 - 15 * t + 6 * t**2)


def nearest_distance(r: Tensor, i: Tensor, j: Tensor, box: Sequence[float]) -> Tensor:
    """Distances (B, P) between the nearest images of pairs of r (B, J, 3)."""
    edges = r.new_tensor(box)
    d = r[..., i, :] - r[..., j, :]
    return torch.linalg.vector_norm(d - edges * torch.round(d / edges), dim=-1)
