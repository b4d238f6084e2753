"""How x0 becomes x1: schedules, paths and couplings."""

from .alignment import Alignment, kabsch
from .couplings import Coupling, GeodesicCost, Independent, OptimalTransport, Pair
from .geodesic import GeodesicPath
from .path import Path, PathSample
from .schedules import Cosine, Exponential, Linear, Polynomial, Schedule

__all__ = [
    "Alignment",
    "Cosine",
    "Coupling",
    "Exponential",
    "GeodesicCost",
    "GeodesicPath",
    "Independent",
    "Linear",
    "OptimalTransport",
    "Pair",
    "Path",
    "PathSample",
    "Polynomial",
    "Schedule",
    "kabsch",
]
