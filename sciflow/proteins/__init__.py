"""Proteins: structures as frames and torsions, and what flows make of them."""

from .backbones import BackboneStudy
from .frame_flow import FrameFlow
from .pockets import PocketStudy

__all__ = ["BackboneStudy", "FrameFlow", "PocketStudy"]
