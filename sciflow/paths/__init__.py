"""How x0 becomes x1: schedules, paths and couplings."""

from .alignment import Alignment, kabsch
from .categorical import CategoricalPath, SimplexPath, vertices
from .costs import Cost, GeodesicCost
from .couplings import Coupling, Independent, Pair, Reflow
from .geodesic import GeodesicPath
from .path import Path, PathSample
from .premetric import PremetricPath
from .rates import MaskingPath, RatesPath, UniformPath
from .schedules import Cosine, Exponential, Linear, Polynomial, Schedule
from .sorted_transport import SortedTransport
from .transport import OptimalTransport, Sinkhorn

__all__ = [
    "Alignment",
    "CategoricalPath",
    "Cosine",
    "Cost",
    "Coupling",
    "Exponential",
    "GeodesicCost",
    "GeodesicPath",
    "Independent",
    "Linear",
    "MaskingPath",
    "OptimalTransport",
    "Pair",
    "Path",
    "PathSample",
    "Polynomial",
    "PremetricPath",
    "RatesPath",
    "Reflow",
    "Schedule",
    "SimplexPath",
    "Sinkhorn",
    "SortedTransport",
    "UniformPath",
    "kabsch",
    "vertices",
]
