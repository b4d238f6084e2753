"""Sequences of DNA, RNA and proteins: families, and flows that design them."""

from .alignment import AlignmentStudy
from .enhancer import EnhancerStudy
from .family import SequenceFamilyStudy
from .family_model import FamilyTransformer
from .model import SequenceField, SequenceModel
from .motifs import MotifStudy
from .peptides import PeptideStudy
from .posterior_flow import PosteriorFlow
from .promoter import PromoterStudy
from .toy import ToySimplex

__all__ = [
    "AlignmentStudy",
    "EnhancerStudy",
    "FamilyTransformer",
    "MotifStudy",
    "PeptideStudy",
    "PosteriorFlow",
    "PromoterStudy",
    "SequenceFamilyStudy",
    "SequenceField",
    "SequenceModel",
    "ToySimplex",
]
