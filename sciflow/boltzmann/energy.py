"""Potential energies in units of kT."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import openmm
import torch
from openmm import unit
from torch import Tensor

__all__ = ["Energy", "OpenMMEnergy"]


class Energy(Protocol):
    """A Boltzmann target: density ∝ exp(−energy(x))."""

    def energy(self, x: Tensor) -> Tensor:
        """Reduced energy ``(B,)`` in kT."""

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energy ``(B,)`` in kT and force ``−∂energy/∂x`` with the shape of ``x``."""

    def at(self, temperature: float) -> "Energy":
        """The same potential at another temperature (kelvin)."""


@dataclass
class OpenMMEnergy:
    """Energies of an OpenMM system, frame by frame in double precision on the ``Reference`` platform.

    ``x (B, N, 3)`` in nm. A non-finite energy (atoms on top of each other) counts as +∞: such a sample has no weight.
    """

    system: openmm.System
    temperature: float

    def __post_init__(self) -> None:
        platform = openmm.Platform.getPlatformByName("Reference")
        self._context = openmm.Context(self.system, openmm.VerletIntegrator(0.001), platform)
        self._kt = (unit.MOLAR_GAS_CONSTANT_R * self.temperature * unit.kelvin).value_in_unit(unit.kilojoule_per_mole)

    def energy(self, x: Tensor) -> Tensor:
        return self._evaluate(x, forces=False)[0]

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._evaluate(x, forces=True)

    def at(self, temperature: float) -> "OpenMMEnergy":
        return OpenMMEnergy(self.system, temperature)

    def _evaluate(self, x: Tensor, forces: bool) -> tuple[Tensor, Tensor]:
        frames = x.detach().double().cpu().numpy()
        energy = np.empty(len(frames))
        force = np.zeros_like(frames)
        for i, frame in enumerate(frames):
            if not np.isfinite(frame).all():
                energy[i] = np.inf
                continue
            self._context.setPositions(frame)
            state = self._context.getState(getEnergy=True, getForces=forces)
            energy[i] = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
            if forces:
                per_nm = unit.kilojoule_per_mole / unit.nanometer
                force[i] = state.getForces(asNumpy=True).value_in_unit(per_nm)
        energy = np.where(np.isfinite(energy), energy, np.inf) / self._kt
        return torch.from_numpy(energy).to(x), torch.from_numpy(force / self._kt).to(x)
