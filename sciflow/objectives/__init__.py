"""What a field regresses."""

from .flow_matching import FlowMatching, Late

__all__ = ["FlowMatching", "Late"]
