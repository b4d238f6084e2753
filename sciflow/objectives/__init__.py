"""What a field regresses."""

from .cross_entropy import CrossEntropy
from .endpoint import endpoint_errors
from .flow_matching import FlowMatching
from .information import InformationClock
from .times import Late, stratified

__all__ = [
    "CrossEntropy",
    "FlowMatching",
    "InformationClock",
    "Late",
    "endpoint_errors",
    "stratified",
]
