"""Follow a predicted posterior from noise to letters: one loop for paths of points and of tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import InputError
from ..paths import CategoricalPath, vertices
from ..rng import Generator, categorical
from .rollout import Rollout

__all__ = ["AlongPath", "Denoise", "PosteriorHook", "PosteriorStep", "sample_posterior"]

#: ``denoise(x, t, **cond)``: probabilities ``(B, L, K)`` of the letters at t = 1, given the states at times ``t (B,)``.
Denoise = Callable[..., Tensor]

#: A hook turns one posterior into another: guidance.
PosteriorHook = Callable[[Denoise], Denoise]


class PosteriorStep(Protocol):
    """Anything that carries states from times ``t (B,)`` to ``s (B,)``; ``denoise(x, t)`` knows its conditions."""

    def __call__(self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, generator: Generator) -> Tensor: ...


@dataclass(frozen=True)
class AlongPath:
    """The path's own way from ``t`` to ``s`` for the posterior at ``t``; at s = 1 letters are drawn from it.

    On the simplex these are vertices. Where a path would end for a posterior that stays is its mean, or its most
    probable letter: no draw of it, as long as steps are few.
    """

    path: CategoricalPath

    def __call__(self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, generator: Generator) -> Tensor:
        posterior = denoise(x, t)
        along = self.path.advance(posterior, x, t, s, generator)
        if self.path.discrete:
            return along
        letters = vertices(categorical(posterior, generator), self.path.k, along.dtype)
        return torch.where((s < 1).reshape(-1, *(1,) * (along.ndim - 1)), along, letters)


def sample_posterior(
    denoise: Denoise,
    x0: Tensor,
    grid: Tensor,
    step: PosteriorStep,
    hooks: Sequence[PosteriorHook] = (),
    cond: Mapping[str, Tensor] | None = None,
    generator: Generator = None,
) -> Rollout:
    """Carry ``x0`` along the grid; with a sequence of generators, row i is drawn from generator i alone.

    Args:
        denoise: the posterior of a network, which ``nfe`` counts the calls of.
        x0: states at ``grid[0]``: tokens ``(B, L)``, or points of the simplex ``(B, L, K)``. Gradients are recorded
            only if it requires them.
        grid: times that rise within [0, 1], one step from each to the next.
        hooks: functions of the posterior, composed left to right: the last one is outermost.
        cond: passed to the posterior as keyword arguments, ``B`` rows each.

    Raises:
        InputError: when the grid is not a line of rising times within [0, 1].
    """
    calls = 0

    def counted(x: Tensor, t: Tensor, **known: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return denoise(x, t, **known)

    hooked: Denoise = counted
    for hook in hooks:
        hooked = hook(hooked)

    def posterior(x: Tensor, t: Tensor) -> Tensor:
        return hooked(x, t, **(cond or {}))

    times, x = _times(grid, x0), x0
    with torch.set_grad_enabled(torch.is_grad_enabled() and x0.requires_grad):
        for t, s in pairwise(times):
            x = step(posterior, x, t.expand(len(x)), s.expand(len(x)), generator)
    return Rollout(x, None, None, calls)


def _times(grid: Tensor, x0: Tensor) -> Tensor:
    times: Tensor = torch.as_tensor(grid)
    times = times.to(x0) if x0.is_floating_point() else times.to(x0.device)
    inside: Any = times.ndim == 1 and len(times) > 0 and (times.diff() > 0).all() and times[0] >= 0 and times[-1] <= 1
    if not inside:
        raise InputError(f"time grid {torch.as_tensor(grid).tolist()}: give a line of times that rise from 0 to 1")
    return times
