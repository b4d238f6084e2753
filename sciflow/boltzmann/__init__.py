"""Energies, importance weights and free energies."""

from .dynamics import LangevinMiddle, Walkers
from .energy import Energy, OpenMMEnergy
from .forcefield import TorchForceField
from .kernels import HMC, MALA, ULA, Kernel, Metropolis, Move, tune
from .potentials import Interpolated, LogDensity, Potential
from .smc import Annealed, ais, smc
from .tempering import ParallelTempering, population_annealing
from .weights import Profile, WeightedSamples, importance

__all__ = [
    "HMC",
    "MALA",
    "ULA",
    "Annealed",
    "Energy",
    "Interpolated",
    "Kernel",
    "LangevinMiddle",
    "LogDensity",
    "Metropolis",
    "Move",
    "OpenMMEnergy",
    "ParallelTempering",
    "Potential",
    "Profile",
    "TorchForceField",
    "Walkers",
    "WeightedSamples",
    "ais",
    "importance",
    "population_annealing",
    "smc",
    "tune",
]
