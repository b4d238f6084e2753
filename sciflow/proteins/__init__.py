"""Proteins: structures as frames and torsions, and what flows make of them."""

from .backbones import BackboneStudy
from .family import SequenceFamilyStudy
from .family_model import FamilyTransformer
from .frame_flow import FrameFlow
from .pockets import PocketStudy

__all__ = ["BackboneStudy", "FamilyTransformer", "FrameFlow", "PocketStudy", "SequenceFamilyStudy"]
