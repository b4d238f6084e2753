"""prepare → train → sample → evaluate, once, for every study."""

from .config import Config, SamplerConfig, load_config, read_config
from .stages import evaluate, load_model, load_samples, prepare, rectify, sample, train
from .summary import summary

__all__ = [
    "Config",
    "SamplerConfig",
    "evaluate",
    "load_config",
    "load_model",
    "load_samples",
    "prepare",
    "read_config",
    "rectify",
    "sample",
    "summary",
    "train",
]
