"""Triangle meshes: straightest geodesics, spectral premetrics, densities that are linear in each face."""

from .density import PiecewiseLinear, eigenfunction_density
from .mesh import Mesh
from .reading import read_mesh
from .spectrum import Biharmonic, Diffusion

__all__ = ["Biharmonic", "Diffusion", "Mesh", "PiecewiseLinear", "eigenfunction_density", "read_mesh"]
