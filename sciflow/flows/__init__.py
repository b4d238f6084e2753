"""Normalizing flows: invertible maps with exact densities, in the manner of zuko."""

from .base import MixedBase
from .coupling import SplineCoupling
from .internal_coordinates import InternalCoordinates
from .normalizing_flow import NormalizingFlow
from .spline import EqualEndsSpline
from .spline_flow import spline_couplings, spline_flow
from .transform import Composed, ModuleTransform
from .unbound import Unbound, circular_torsions
from .whitening import Whiten

__all__ = [
    "Composed",
    "EqualEndsSpline",
    "InternalCoordinates",
    "MixedBase",
    "ModuleTransform",
    "NormalizingFlow",
    "SplineCoupling",
    "Unbound",
    "Whiten",
    "circular_torsions",
    "spline_couplings",
    "spline_flow",
]
