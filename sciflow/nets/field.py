"""The one thing a network must be: a time-dependent tangent vector at every point of a manifold."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..manifolds import Manifold, State, scale

__all__ = ["Field", "FunctionField"]


class Field(nn.Module, ABC):
    """A velocity field ``v(x, t)`` on a manifold; time runs from the source at 0 to the data at 1.

    A subclass gives ``velocity``. A network of two times (an average velocity, a flow map) overrides
    ``average_velocity`` as well; for all others the end time is ignored, and ``jump`` is one Euler step.

    States are tensors ``(B, *E, *point_shape)`` or dictionaries of them on a ``Product``, tangents have
    ``tangent_shape`` in place of ``point_shape``, times are ``(B,)``, ``cond`` holds tensors with ``B`` rows.
    """

    def __init__(self, manifold: Manifold[Any]) -> None:
        super().__init__()
        self.manifold = manifold

    @abstractmethod
    def velocity(self, x: State, t: Tensor, **cond: Tensor) -> State:
        """Tangent at ``x``: the velocity of the flow at time ``t``."""

    def average_velocity(self, x: State, s: Tensor, t: Tensor, **cond: Tensor) -> State:
        """Tangent at ``x`` that leads from ``s`` to ``t`` when followed for ``t - s``; the velocity where ``s = t``."""
        return self.velocity(x, s, **cond)

    def jump(self, x: State, s: Tensor, t: Tensor, **cond: Tensor) -> State:
        """Map from time ``s`` to time ``t``: ``expmap(x, (t - s) · average_velocity(x, s, t))``."""
        return self.manifold.expmap(x, scale(t - s, self.average_velocity(x, s, t, **cond)))

    def denoise(self, x: State, t: Tensor, **cond: Tensor) -> State:
        """Endpoint estimate ``expmap(x, (1 - t) · velocity(x, t))``, of a field trained on paths of constant speed."""
        return self.manifold.expmap(x, scale(1 - t, self.velocity(x, t, **cond)))


class FunctionField(Field):
    """A field in closed form: ``fn(x, t, **cond)`` returns the tangent at ``x``.

    >>> rotation = FunctionField(Euclidean(2), lambda x, t: torch.stack([-x[..., 1], x[..., 0]], -1))
    """

    def __init__(self, manifold: Manifold[Any], fn: Callable[..., Any]) -> None:
        super().__init__(manifold)
        self.fn = fn

    def velocity(self, x: State, t: Tensor, **cond: Tensor) -> State:
        return self.fn(x, t, **cond)
