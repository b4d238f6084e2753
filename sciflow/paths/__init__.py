"""How x0 becomes x1: schedules, paths and couplings."""

from .alignment import Alignment, kabsch
from .categorical import CategoricalPath, SimplexPath, vertices
from .costs import Cost, GeodesicCost
from .couplings import Coupling, Independent, Pair, Reflow
from .dirichlet_path import DirichletPath
from .fisher import FisherPath
from .geodesic import GeodesicPath
from .gumbel_softmax import GumbelSoftmaxPath
from .logit import LogitPath
from .path import Path, PathSample
from .premetric import PremetricPath
from .rates import MaskingPath, RatesPath, UniformPath
from .schedules import Cosine, Exponential, Linear, Polynomial, Schedule
from .simplex_linear import LinearSimplexPath
from .sorted_transport import SortedTransport
from .transport import OptimalTransport, Sinkhorn

__all__ = [
    "Alignment",
    "CategoricalPath",
    "Cosine",
    "Cost",
    "Coupling",
    "DirichletPath",
    "Exponential",
    "FisherPath",
    "GeodesicCost",
    "GeodesicPath",
    "GumbelSoftmaxPath",
    "Independent",
    "Linear",
    "LinearSimplexPath",
    "LogitPath",
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
