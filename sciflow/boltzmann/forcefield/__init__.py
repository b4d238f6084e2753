"""Force fields in torch, read from OpenMM."""

from .forcefield import TorchForceField

__all__ = ["TorchForceField"]
