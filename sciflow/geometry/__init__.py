"""Points on manifolds: places on the earth, torsions, rotations, surfaces; one's own table on any of them."""

from .architectures import GeodesicFlow
from .earth import EarthStudy
from .floors import Floors, floors
from .hyperbolic import HyperbolicPoints
from .mesh import MeshStudy
from .mixtures import Mixture
from .rotations import Rotations
from .spd import SPDMatrices
from .study import Drawing, ManifoldStudy, Points, Splits
from .torsions import ProteinTorsions, RNATorsions

__all__ = [
    "Drawing",
    "EarthStudy",
    "Floors",
    "GeodesicFlow",
    "HyperbolicPoints",
    "ManifoldStudy",
    "MeshStudy",
    "Mixture",
    "Points",
    "ProteinTorsions",
    "RNATorsions",
    "Rotations",
    "SPDMatrices",
    "Splits",
    "floors",
]
