"""What a field regresses."""

from sciflow.objectives.flow_matching import FlowMatching

__all__ = ["FlowMatching"]
