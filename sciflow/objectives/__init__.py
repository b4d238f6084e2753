"""What a field regresses."""

from .endpoint import EndpointMatching, endpoint_errors
from .flow_matching import FlowMatching
from .times import Late, stratified

__all__ = ["EndpointMatching", "FlowMatching", "Late", "endpoint_errors", "stratified"]
