"""Networks: velocity fields on manifolds, one file per symmetry."""

from .committee import Committee
from .egnn import EGNNField
from .embedding import Features, TimeEmbedding
from .field import Field, FunctionField
from .mlp import MLPField

__all__ = ["Committee", "EGNNField", "Features", "Field", "FunctionField", "MLPField", "TimeEmbedding"]
