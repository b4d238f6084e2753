"""What a path is: a way to go from a source point x0 to a data point x1 in unit time."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..manifolds import Manifold
from ..rng import Generator

__all__ = ["Path", "PathSample"]


@dataclass(frozen=True)
class PathSample:
    """Points on the paths of a batch of pairs; states are ``(B, *E, *point_shape)`` or dicts on a product."""

    x_t: Any
    """Where the paths are at time t."""
    u_t: Any
    """Their velocities there, tangent at ``x_t``: the regression target."""
    x0: Any
    """Sources."""
    x1: Any
    """Data."""
    t: Tensor
    """Times ``(B,)``."""


class Path(Protocol):
    """A conditional probability path."""

    @property
    def manifold(self) -> Manifold[Any]:
        """Where it runs."""
        ...

    def sample(self, x0: Any, x1: Any, t: Tensor, generator: Generator = None) -> PathSample:
        """Point and velocity at times ``t (B,)``; ``generator`` feeds paths that are random given their ends."""
        ...

    def velocity(self, x1_hat: Any, x_t: Any, t: Tensor) -> Any:
        """Velocity at ``x_t`` of the path that ends in the predicted endpoint ``x1_hat``."""
        ...
