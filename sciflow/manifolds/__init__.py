"""Where data lives: manifolds with closed-form geodesics, and the priors on them."""

from sciflow.manifolds.base import Manifold, Prior, State, center, tree_map
from sciflow.manifolds.euclidean import Euclidean
from sciflow.manifolds.priors import Normal, ProductPrior, Uniform
from sciflow.manifolds.product import SE3, Product
from sciflow.manifolds.so3 import SO3
from sciflow.manifolds.sphere import Sphere
from sciflow.manifolds.torus import FlatTorus, wrap

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
    "tree_map",
    "wrap",
]
