"""Sequences of DNA, RNA and proteins: families, and flows that design them."""

from .family import SequenceFamilyStudy
from .family_model import FamilyTransformer

__all__ = ["FamilyTransformer", "SequenceFamilyStudy"]
