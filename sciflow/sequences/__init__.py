"""Sequences of DNA, RNA and proteins: families, and flows that design them."""

from .alignment import AlignmentStudy
from .enhancer import EnhancerStudy
from .family import SequenceFamilyStudy
from .family_model import FamilyTransformer
from .peptides import PeptideStudy
from .promoter import PromoterStudy
from .toy import ToySimplex

__all__ = [
    "AlignmentStudy",
    "EnhancerStudy",
    "FamilyTransformer",
    "PeptideStudy",
    "PromoterStudy",
    "SequenceFamilyStudy",
    "ToySimplex",
]
