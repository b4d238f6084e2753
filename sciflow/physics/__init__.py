"""Physics: Boltzmann generators of analytic energies in reduced units."""

from .architectures import StochasticVectorFlow, VectorFlow
from .ice import IceStudy
from .ice_flow import CrystalFlow
from .particle_flow import ParticleFlow
from .study import EnergyStudy
from .tetrahedron import RotationFlow, TetrahedronStudy

__all__ = [
    "CrystalFlow",
    "EnergyStudy",
    "IceStudy",
    "ParticleFlow",
    "RotationFlow",
    "StochasticVectorFlow",
    "TetrahedronStudy",
    "VectorFlow",
]
