"""Training: what a model is, the data it reads, and the loop that fits it."""

from .data import SafetensorsDataset, TensorsDataset, load_tensors, save_splits, save_tensors
from .fit import TrainerConfig, fit
from .loader import read
from .models import FieldModel, FlowModel, Model, Samples, require_step, solver_step
from .order import stream
from .progress import Progress
from .tables import read_table

__all__ = [
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
    "stream",
]
