"""Normalizing flows: invertible maps with exact densities, in the manner of zuko."""

from .internal_coordinates import InternalCoordinates
from .transform import Composed, ModuleTransform

__all__ = ["Composed", "InternalCoordinates", "ModuleTransform"]
