"""Networks: velocity fields on manifolds, one file per symmetry."""

from sciflow.nets.egnn import EGNNField
from sciflow.nets.embedding import TimeEmbedding
from sciflow.nets.field import Field, FunctionField
from sciflow.nets.mlp import MLPField

__all__ = ["EGNNField", "Field", "FunctionField", "MLPField", "TimeEmbedding"]
