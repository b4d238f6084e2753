"""Physics: Boltzmann generators of analytic energies in reduced units."""

from .architectures import ParticleFlow, VectorFlow
from .study import EnergyStudy

__all__ = ["EnergyStudy", "ParticleFlow", "VectorFlow"]
