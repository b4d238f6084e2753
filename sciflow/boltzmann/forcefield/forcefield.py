"""Energies and forces of many frames of a molecule at once, on any device."""

import copy
from typing import Any

import openmm
import torch
from openmm import unit
from torch import Tensor, nn

from ...errors import InputError
from .read import read_terms

__all__ = ["TorchForceField"]

_R = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
_HEAP = 2**25 - 2**16  # bytes; glibc maps what is larger than 32 MB
_MATRIX_BYTES = {"cpu": 2**19, "cuda": 2**28}  # of one (N, N, B) matrix: on a CPU a few of them share its cache


class TorchForceField(nn.Module):
    """A molecule's potential energy, as an :class:`~sciflow.boltzmann.Energy`.

        field = TorchForceField.from_openmm(system).to("cuda", torch.float32)
        field.compile()  # on a GPU; once for every batch size
        energy, force = field.energy_and_force(x)

    Frames ``x (B, N, 3)`` in nm of any dtype are computed in the module's own and returned in theirs. Forces are
    written out, not differentiated, so they cost one pass and no graph; ``energy`` is differentiable (twice if asked
    for). A frame without a finite energy has energy +∞ and no force.

    Args:
        terms: modules from ``(3, N, B)`` nm to energy ``(B,)`` in kJ/mol and gradient ``(3, N, B)``.
        masses: ``(N,)`` in dalton.
        temperature: kelvin; what kT is.
    """

    masses: Tensor

    def __init__(self, terms: list[nn.Module], masses: Tensor, temperature: float) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)
        self.register_buffer("masses", masses)
        self.temperature = _above_zero(temperature)
        # Once a block of this size was freed, glibc keeps temporaries of a megabyte on its heap. Before, each of them
        # would be pages of its own, faulted in one by one: up to half of the time.
        torch.empty(_HEAP, dtype=torch.uint8)

    @classmethod
    def from_openmm(
        cls, system: openmm.System, temperature: float = 300.0, dtype: torch.dtype = torch.float64
    ) -> "TorchForceField":
        """Read harmonic bonds and angles, periodic and Ryckaert–Bellemans torsions, CMAP, Lennard-Jones and Coulomb
        (whole or cut off with a reaction field), GBSAOBCForce, CustomGBForce in its OBC1 and OBC2 forms, and the custom
        impropers and Lennard-Jones tables of CHARMM.

        The remover of centre-of-mass motion is left out.

        Raises:
            InputError: any other force, expression or option, by its name; constraints, without whose energies dynamics
                would fly apart; a temperature that is not above zero.
        """
        masses = [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(system.getNumParticles())]
        return cls(read_terms(system), torch.tensor(masses, dtype=torch.float64), temperature).to(dtype)

    @property
    def kt(self) -> float:
        """kT in kJ/mol."""
        return _R * self.temperature

    @property
    def reduced_masses(self) -> Tensor:
        """Masses ``(N, 1)`` in kT·ps²/nm², for dynamics in nm and ps with energies in kT."""
        return self.masses[:, None] / self.kt

    def at(self, temperature: float) -> "TorchForceField":
        """The same potential, sharing its parameters, at another temperature (kelvin)."""
        other = copy.copy(self)
        other.temperature = _above_zero(temperature)
        return other

    def potential_energy(self, x: Tensor) -> Tensor:
        """Potential energy ``(B,)`` in kJ/mol."""
        energy: Tensor = _Potential.apply(x, self)
        return energy

    def energy(self, x: Tensor) -> Tensor:
        """Reduced energy ``(B,)`` in kT."""
        return self.potential_energy(x) / self.kt

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reduced energy ``(B,)`` in kT and force ``(B, N, 3)`` in kT/nm, outside any graph."""
        with torch.no_grad():
            energy, gradient = self._evaluate(x)
        return energy / self.kt, gradient / -self.kt

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energy ``(B,)`` in kJ/mol and gradient ``(3, N, B)`` at ``(3, N, B)`` nm, not guarded: what is compiled."""
        energy, gradient = torch.zeros_like(x[0, 0]), torch.zeros_like(x)
        for term in self.terms:
            e, g = term(x)
            energy, gradient = energy + e, gradient + g
        return energy, gradient

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and gradient like ``x``, in pieces that fit the cache."""
        if x.shape[1:] != (len(self.masses), 3):
            raise ValueError(f"x {tuple(x.shape)}: this molecule has {len(self.masses)} atoms; give (B, N, 3) in nm")
        size = max(32, _MATRIX_BYTES.get(x.device.type, 2**28) // (self.masses.element_size() * len(self.masses) ** 2))
        parts = [self(part.to(self.masses.dtype).permute(2, 1, 0).contiguous()) for part in x.split(size)]
        energy = torch.cat([e for e, _ in parts])
        gradient = torch.cat([g.permute(2, 1, 0) for _, g in parts])
        finite = energy.isfinite() & gradient.isfinite().flatten(1).all(1)
        energy = torch.where(finite, energy, torch.inf)
        return energy.to(x.dtype), torch.where(finite[:, None, None], gradient, 0).to(x.dtype)


def _above_zero(temperature: float) -> float:
    if not temperature > 0:
        raise InputError(f"temperature={temperature} must be above 0 kelvin")
    return temperature


class _Potential(torch.autograd.Function):
    """The energy, whose derivative is computed beside it; its second derivative is that of the written forces."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, field: TorchForceField) -> Tensor:
        energy, gradient = field._evaluate(x)
        ctx.field = field
        ctx.save_for_backward(x, gradient)
        return energy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, gradient = ctx.saved_tensors
        if torch.is_grad_enabled() and x.requires_grad:
            gradient = ctx.field._evaluate(x)[1]
        return grads[0][:, None, None] * gradient, None
