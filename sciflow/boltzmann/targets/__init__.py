"""Analytic Boltzmann targets in reduced units, with known constants or checked identities."""

from .base import ExactTarget, Target
from .cox import LogGaussianCox
from .double_well import DoubleWell, ManyWell
from .equilibrium import Chains, TemperedHMC
from .funnel import Funnel
from .ice import GAS_CONSTANT, ORDERS, TIP4PEW, Ice, RigidWater
from .ice_symmetry import symmetries
from .identities import Identity, curvature, virial
from .mixture import GaussianMixture
from .mueller_brown import MuellerBrown
from .particles import DW4, HarmonicTrap, LennardJones, Particles
from .rigid import RigidHMC, torque
from .tetrahedron import TETRAHEDRON, Tetrahedron, turns_of_so3

__all__ = [
    "DW4",
    "GAS_CONSTANT",
    "ORDERS",
    "TETRAHEDRON",
    "TIP4PEW",
    "Chains",
    "DoubleWell",
    "ExactTarget",
    "Funnel",
    "GaussianMixture",
    "HarmonicTrap",
    "Ice",
    "Identity",
    "LennardJones",
    "LogGaussianCox",
    "ManyWell",
    "MuellerBrown",
    "Particles",
    "RigidHMC",
    "RigidWater",
    "Target",
    "TemperedHMC",
    "Tetrahedron",
    "curvature",
    "symmetries",
    "torque",
    "turns_of_so3",
    "virial",
]
