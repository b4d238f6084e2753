"""Where data lives: manifolds with closed-form geodesics, and the priors on them."""

from .ball import Ball
from .base import Manifold, Prior, State, center, leaves, scale, tree_map
from .box import Box
from .dirichlet import Dirichlet
from .domain import ConvexDomain
from .euclidean import Euclidean
from .flat_simplex import FlatSimplex
from .priors import Normal, ProductPrior, Uniform
from .product import SE3, Product
from .simplex import Simplex
from .so3 import SO3
from .sphere import Sphere
from .torus import FlatTorus, wrap

__all__ = [
    "SE3",
    "SO3",
    "Ball",
    "Box",
    "ConvexDomain",
    "Dirichlet",
    "Euclidean",
    "FlatSimplex",
    "FlatTorus",
    "Manifold",
    "Normal",
    "Prior",
    "Product",
    "ProductPrior",
    "Simplex",
    "Sphere",
    "State",
    "Uniform",
    "center",
    "leaves",
    "scale",
    "tree_map",
    "wrap",
]
