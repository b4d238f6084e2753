"""Proteins: structures as frames and torsions, and what flows make of them."""

from .backbones import BackboneStudy
from .frame_flow import FrameFlow

__all__ = ["BackboneStudy", "FrameFlow"]
