"""Analytic Boltzmann targets in reduced units, with known constants or checked identities."""

from .base import ExactTarget, Target
from .cox import LogGaussianCox
from .double_well import DoubleWell, ManyWell
from .equilibrium import Chains, ParallelTempering
from .funnel import Funnel
from .identities import Identity, curvature, virial
from .mixture import GaussianMixture
from .mueller_brown import MuellerBrown
from .particles import DW4, HarmonicTrap, LennardJones, Particles

__all__ = [
    "DW4",
    "Chains",
    "DoubleWell",
    "ExactTarget",
    "Funnel",
    "GaussianMixture",
    "HarmonicTrap",
    "Identity",
    "LennardJones",
    "LogGaussianCox",
    "ManyWell",
    "MuellerBrown",
    "ParallelTempering",
    "Particles",
    "Target",
    "curvature",
    "virial",
]
