"""Analytic Boltzmann targets in reduced units, with known constants or checked identities."""

from .base import ExactTarget, Target
from .double_well import DoubleWell, ManyWell
from .mixture import GaussianMixture

__all__ = ["DoubleWell", "ExactTarget", "GaussianMixture", "ManyWell", "Target"]
