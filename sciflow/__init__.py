"""sciflow: flow-based generative modelling for the sciences, from raw data to sampled structures."""

__version__ = "0.1.0"
