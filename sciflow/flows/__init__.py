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
from .rigid_bodies import FromSites, PlaceCoupling, RotationCoupling, Sites, rigid_couplings
from .rigid_potential import ConvexPotential
from .rigid_projective import ProjectiveLinear, symmetrised_moebius
from .rigid_rotations import RotationLayer, rotation_flow
from .rotors import Rotors
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
    "ConvexPotential",
    "EqualEndsSpline",
    "FromSites",
    "HeavyTailedBase",
    "InternalCoordinates",
    "MixedBase",
    "MixedCoordinates",
    "ModuleTransform",
    "NormalizingFlow",
    "PlaceCoupling",
    "ProjectiveLinear",
    "ResidualBlock",
    "RotationCoupling",
    "RotationLayer",
    "Rotors",
    "Sites",
    "SmoothBump",
    "SmoothCoupling",
    "SplineCoupling",
    "Unbound",
    "Whiten",
    "circular_torsions",
    "estimate_log_prob",
    "residual_blocks",
    "rigid_couplings",
    "rotation_flow",
    "smooth_couplings",
    "smooth_flow",
    "spline_couplings",
    "spline_flow",
    "symmetrised_moebius",
    "tarflow",
]
