"""Analytic Boltzmann targets in reduced units, with known constants or checked identities."""

from .base import ExactTarget, Target
from .cox import LogGaussianCox
from .double_well import DoubleWell, ManyWell
from .funnel import Funnel
from .identities import Identity, curvature, virial
from .mixture import GaussianMixture
from .mueller_brown import MuellerBrown
from .particles import DW4, HarmonicTrap, LennardJones, Particles

__all__ = [
    "DW4",
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
    "Particles",
    "Target",
    "curvature",
    "virial",
]
