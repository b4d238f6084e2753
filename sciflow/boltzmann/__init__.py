"""Energies, importance weights and free energies."""

from .energy import Energy, OpenMMEnergy
from .forcefield import TorchForceField
from .kernels import HMC, MALA, ULA, Kernel, Metropolis, Move, tune
from .potentials import Interpolated, LogDensity, Potential
from .smc import Annealed, ais, smc
from .weights import Profile, WeightedSamples, importance

__all__ = [
    "HMC",
    "MALA",
    "ULA",
    "Annealed",
    "Energy",
    "Interpolated",
    "Kernel",
    "LogDensity",
    "Metropolis",
    "Move",
    "OpenMMEnergy",
    "Potential",
    "Profile",
    "TorchForceField",
    "WeightedSamples",
    "ais",
    "importance",
    "smc",
    "tune",
]
