"""Networks: velocity fields on manifolds, one file per symmetry."""

from .egnn import EGNNField
from .embedding import TimeEmbedding
from .field import Field, FunctionField
from .mlp import MLPField

__all__ = ["EGNNField", "Field", "FunctionField", "MLPField", "TimeEmbedding"]
