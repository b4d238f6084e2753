"""Sequences, drawn: the colours of data and samples."""

__all__ = ["NATIVE", "SAMPLED", "TRAINING"]

# Okabe & Ito's palette, readable by everyone.
NATIVE, SAMPLED, TRAINING = "#0072B2", "#D55E00", "#999999"
