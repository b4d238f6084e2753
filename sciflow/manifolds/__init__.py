"""Where data lives: manifolds with closed-form geodesics, and the priors on them."""

from .ball import Ball
from .base import Manifold, Prior, State, center, leaves, scale, tree_map
from .box import Box
from .dirichlet import Dirichlet
from .domain import ConvexDomain
from .euclidean import Euclidean
from .flat_simplex import FlatSimplex
from .hyperbolic import Hyperbolic, from_poincare, to_poincare
from .mesh import Biharmonic, Diffusion, Mesh, PiecewiseLinear, eigenfunction_density, read_mesh
from .priors import Normal, ProductPrior, Uniform
from .product import SE3, Product
from .simplex import Simplex
from .so3 import SO3
from .spd import SPD
from .sphere import Sphere
from .torus import FlatTorus, wrap
from .von_mises_fisher import VonMises, VonMisesFisher
from .wrapped import WrappedNormal

__all__ = [
    "SE3",
    "SO3",
    "SPD",
    "Ball",
    "Biharmonic",
    "Box",
    "ConvexDomain",
    "Diffusion",
    "Dirichlet",
    "Euclidean",
    "FlatSimplex",
    "FlatTorus",
    "Hyperbolic",
    "Manifold",
    "Mesh",
    "Normal",
    "PiecewiseLinear",
    "Prior",
    "Product",
    "ProductPrior",
    "Simplex",
    "Sphere",
    "State",
    "Uniform",
    "VonMises",
    "VonMisesFisher",
    "WrappedNormal",
    "center",
    "eigenfunction_density",
    "from_poincare",
    "leaves",
    "read_mesh",
    "scale",
    "to_poincare",
    "tree_map",
    "wrap",
]
