"""Training: what a model is, the data it reads, and the loop that fits it."""

from .data import SafetensorsDataset, TensorsDataset, load_tensors, save_splits, save_tensors
from .field_model import ODE_STEPS, FieldModel, require_step, solver_step
from .fit import TrainerConfig, fit
from .flow_model import FlowModel
from .loader import read
from .models import Coupler, Model, Samples
from .order import stream
from .progress import Progress
from .splits import split_clusters
from .tables import read_table

__all__ = [
    "ODE_STEPS",
    "Coupler",
    "FieldModel",
    "FlowModel",
    "Model",
    "Progress",
    "SafetensorsDataset",
    "Samples",
    "TensorsDataset",
    "TrainerConfig",
    "fit",
    "load_tensors",
    "read",
    "read_table",
    "require_step",
    "save_splits",
    "save_tensors",
    "solver_step",
    "split_clusters",
    "stream",
]
