"""How x0 becomes x1: schedules, paths and couplings."""

from sciflow.paths.alignment import Alignment, kabsch
from sciflow.paths.couplings import Coupling, GeodesicCost, Independent, OptimalTransport, Pair
from sciflow.paths.geodesic import GeodesicPath
from sciflow.paths.path import Path, PathSample
from sciflow.paths.schedules import Cosine, Exponential, Linear, Polynomial, Schedule

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
