"""What a field regresses."""

from .flow_matching import FlowMatching

__all__ = ["FlowMatching"]
