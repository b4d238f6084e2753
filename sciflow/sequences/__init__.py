"""Sequences of DNA, RNA and proteins: families, and flows that design them."""

from .alignment import AlignmentStudy
from .family import SequenceFamilyStudy
from .family_model import FamilyTransformer

__all__ = ["AlignmentStudy", "FamilyTransformer", "SequenceFamilyStudy"]
