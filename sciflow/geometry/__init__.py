"""Points on manifolds: places on the earth, torsions, rotations, surfaces; one's own table on any of them."""

from .architectures import GeodesicFlow
from .earth import EarthStudy
from .floors import Floors, floors
from .study import Drawing, ManifoldStudy, Points, Splits
from .torsions import ProteinTorsions, RNATorsions

__all__ = [
    "Drawing",
    "EarthStudy",
    "Floors",
    "GeodesicFlow",
    "ManifoldStudy",
    "Points",
    "ProteinTorsions",
    "RNATorsions",
    "Splits",
    "floors",
]
