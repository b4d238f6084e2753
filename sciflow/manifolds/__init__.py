"""Where data lives: manifolds with closed-form geodesics, and the priors on them."""

from .base import Manifold, Prior, State, center, leaves, scale, tree_map
from .euclidean import Euclidean
from .priors import Normal, ProductPrior, Uniform
from .product import SE3, Product
from .so3 import SO3
from .sphere import Sphere
from .torus import FlatTorus, wrap

__all__ = [
    "SE3",
    "SO3",
    "Euclidean",
    "FlatTorus",
    "Manifold",
    "Normal",
    "Prior",
    "Product",
    "ProductPrior",
    "Sphere",
    "State",
    "Uniform",
    "center",
    "leaves",
    "scale",
    "tree_map",
    "wrap",
]
