"""Networks: velocity fields on manifolds, one file per symmetry."""

from .committee import Committee
from .dilated_cnn import DilatedCNN
from .egnn import EGNNField
from .embedding import Features, TimeEmbedding
from .field import Field, FunctionField
from .ipa import InvariantPointAttention
from .mlp import MLPField
from .painn import PaiNNField
from .point_cloud import PointCloudField
from .rotary_transformer import RotaryTransformer
from .tensor_product import TensorProductField
from .transformer import CausalTransformer

__all__ = [
    "CausalTransformer",
    "Committee",
    "DilatedCNN",
    "EGNNField",
    "Features",
    "Field",
    "FunctionField",
    "InvariantPointAttention",
    "MLPField",
    "PaiNNField",
    "PointCloudField",
    "RotaryTransformer",
    "TensorProductField",
    "TimeEmbedding",
]
