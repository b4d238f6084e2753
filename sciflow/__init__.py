"""sciflow: flow-based generative modelling for the sciences, from raw data to sampled structures.

The stages of a study are at hand here: ``sciflow.train(config, data, out)`` is what the command line and Snakemake run.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["evaluate", "load_config", "load_model", "load_samples", "prepare", "sample", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sciflow' has no attribute {name!r}")
    from . import pipeline

    return getattr(pipeline, name)
