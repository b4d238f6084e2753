"""Energies, importance weights and free energies."""

from .energy import Energy, OpenMMEnergy
from .weights import Profile, WeightedSamples, importance

__all__ = ["Energy", "OpenMMEnergy", "Profile", "WeightedSamples", "importance"]
