"""Paths to letters: what a network that predicts posteriors drives, on the simplex or among tokens."""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor

from ..manifolds import FlatSimplex, Manifold, Prior
from ..rng import Generator
from .path import PathSample
from .schedules import Schedule

__all__ = ["CategoricalPath", "SimplexPath", "floored_ahead", "log_floored", "over_sites", "state_at", "vertices"]


class CategoricalPath(Protocol):
    """A path from noise to the letters ``0 … k−1``, tokens ``(B, L)``, whose field follows from a posterior.

    The **posterior** ``(B, L, k)`` is the probability, given the state at time t, of the letter that stands at t = 1:
    all that a network learns, the same on every path. States are points of the simplex ``(B, L, k)``, or tokens
    ``(B, L)`` where the path is ``discrete``. A :class:`~sciflow.paths.Path` too.
    """

    k: int
    """Letters."""
    discrete: bool
    """Whether a state is tokens, not a point of the simplex."""

    @property
    def manifold(self) -> Manifold[Any]:
        """Where it runs."""
        ...

    @property
    def prior(self) -> Prior[Any]:
        """The law of ``x0``, drawn by ``sample(B, L, generator=…)``."""
        ...

    def sample(self, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> PathSample:
        """The state at times ``t (B,)`` given the letters ``x1 (B, L)``, and its conditional velocity (or rates)."""
        ...

    def velocity(self, posterior: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The posterior's mean of the conditional velocities at ``x_t``; on tokens, rates to every state."""
        ...

    def advance(self, posterior: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: Generator = None) -> Tensor:
        """The state at times ``s (B,)`` of one that is at ``x_t`` at ``t (B,)`` while the posterior stays.

        Never off the simplex. At s = 1 it lands on the vertices where the posterior is certain.
        """
        ...

    def log_conditional(self, x_t: Tensor, t: Tensor) -> Tensor:
        """``log p_t(x_t | x1 = k)`` of every letter, ``(B, L, k)``, with respect to the volume of the manifold.

        With the log-probabilities of letters added, its softmax is the exact posterior of independent sites.
        """
        ...


class SimplexPath(ABC):
    """A :class:`CategoricalPath` through the simplex with the flat metric, from uniform noise unless it says else."""

    discrete = False

    def __init__(self, k: int) -> None:
        if k < 2:
            raise ValueError(f"k = {k} letters: a path needs two or more")
        self.k = k
        self.manifold: Manifold[Tensor] = FlatSimplex(k)
        self.prior: Prior[Tensor] = self.manifold.prior()

    def sample(self, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> PathSample:
        """Point and conditional velocity at times ``t (B,)`` of the path from ``x0 (B, L, k)`` to the letters ``x1``.

        ``x1``: tokens ``(B, L)``, or points of the simplex ``(B, L, k)``.
        """
        end = vertices(x1, self.k, x0.dtype)
        x_t = self.point(x0, end, t, generator)
        return PathSample(x_t, self.velocity(end, x_t, t), x0, x1, t)

    @abstractmethod
    def point(self, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> Tensor:
        """Where the path from ``x0`` to the vertices ``x1 (B, L, k)`` is at times ``t (B,)``."""

    @abstractmethod
    def velocity(self, posterior: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The posterior's mean of the conditional velocities at ``x_t (B, L, k)``, times ``t (B,)``."""

    @abstractmethod
    def advance(self, posterior: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: Generator = None) -> Tensor:
        """Where the flow of a posterior that stays takes ``x_t`` from times ``t`` to ``s (B,)``; no draws."""

    @abstractmethod
    def log_conditional(self, x_t: Tensor, t: Tensor) -> Tensor:
        """``log p_t(x_t | x1 = k)`` of every letter, ``(B, L, k)``, with respect to the volume of the manifold."""


def state_at(path: Any, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> Tensor:
    """The state of ``path.sample``, without the velocity that a posterior has no use for."""
    if isinstance(path, SimplexPath):
        return path.point(x0, vertices(x1, path.k, x0.dtype), t, generator)
    state: Tensor = path.sample(x0, x1, t, generator).x_t
    return state


def vertices(x1: Tensor, k: int, dtype: torch.dtype) -> Tensor:
    """Tokens ``(B, L)`` as vertices ``(B, L, k)``; points of the simplex as they are."""
    return (x1 if x1.is_floating_point() else torch.nn.functional.one_hot(x1, k)).to(dtype)


def over_sites(value: Tensor, x: Tensor) -> Tensor:
    """One number each sample ``(B,)``, or each site ``(B, L)``, to broadcast against ``x (B, L, …)``."""
    return value.reshape(value.shape + (1,) * (x.ndim - value.ndim))


def log_floored(x: Tensor) -> Tensor:
    """The logarithm of points of the simplex, finite on faces."""
    return x.clamp_min(torch.finfo(x.dtype).tiny).log()


def floored_ahead(schedule: Schedule, t: Tensor) -> Tensor:
    """``1 − κ(t)`` as a divisor: no less than the square of the dtype's epsilon, which it is at t = 1."""
    return schedule.ahead(t).clamp_min(torch.finfo(t.dtype).eps ** 2)
