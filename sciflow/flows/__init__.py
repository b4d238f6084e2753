"""Normalizing flows: invertible maps with exact densities, in the manner of zuko."""

from .affine import AffineCoupling
from .base import MixedBase
from .body_frame import BodyFrame
from .bump import SmoothBump
from .coupling import SmoothCoupling, SplineCoupling
from .heavy_tails import HeavyTailedBase
from .internal_coordinates import InternalCoordinates
from .mixed_coordinates import MixedCoordinates
from .normalizing_flow import NormalizingFlow
from .residual import ResidualBlock, estimate_log_prob, residual_blocks
from .spline import EqualEndsSpline
from .spline_flow import smooth_couplings, smooth_flow, spline_couplings, spline_flow
from .tarflow import AutoregressiveAffine, tarflow
from .transform import Composed, ModuleTransform
from .unbound import Unbound, circular_torsions
from .whitening import Whiten

__all__ = [
    "AffineCoupling",
    "AutoregressiveAffine",
    "BodyFrame",
    "Composed",
    "EqualEndsSpline",
    "HeavyTailedBase",
    "InternalCoordinates",
    "MixedBase",
    "MixedCoordinates",
    "ModuleTransform",
    "NormalizingFlow",
    "ResidualBlock",
    "SmoothBump",
    "SmoothCoupling",
    "SplineCoupling",
    "Unbound",
    "Whiten",
    "circular_torsions",
    "estimate_log_prob",
    "residual_blocks",
    "smooth_couplings",
    "smooth_flow",
    "spline_couplings",
    "spline_flow",
    "tarflow",
]
