"""The density of the flow at given points."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import Prior, State
from ..nets import Field
from ..rng import Generator
from .rollout import Divergence, Hook, sample
from .steps import Dopri5, Step

__all__ = ["log_prob"]


def log_prob(
    field: Field,
    x1: State,
    prior: Prior[Any],
    divergence: Divergence = "exact",
    step: Step = Dopri5(),
    grid: Tensor | None = None,
    hooks: Sequence[Hook] = (),
    cond: Mapping[str, Tensor] | None = None,
    generator: Generator = None,
) -> Tensor:
    """Log-density ``(B,)`` of ``x1`` under the flow of ``field`` from ``prior``, by the change of variables.

    ``log p(x1) = log prior(x0) - ∫ div v(x_t, t) dt`` along the trajectory that ends in ``x1``, followed back to its
    source ``x0``; with respect to the Riemannian volume, as the prior's.

    Args:
        x1: states ``(B, *E, *point_shape)``. The result carries gradients only if ``x1`` requires them.
        prior: density of the source.
        divergence: ``"exact"``, one pullback per tangent coordinate, ``"hutchinson"``, one in all, unbiased, or
            between them ``"points"``, see ``sample``.
        grid: times from the data to the source; by default from 1 to 0 in one step, which suits ``Dopri5``. Give a
            fixed step a finer one.
        hooks, cond, generator: as in ``sample``.

    Raises:
        InputError: when the grid rises, away from the source, or is one time, where there is no flow.

    Source: Chen et al. 2018, arXiv:1806.07366; Grathwohl et al. 2018, arXiv:1810.01367; on manifolds Mathieu, Nickel
    2020, arXiv:2006.10605.
    """
    if grid is None:
        grid = torch.tensor([1.0, 0.0])
    elif grid[0] <= grid[-1]:
        raise InputError(f"time grid from {float(grid[0])} to {float(grid[-1])}: give it from data to source, falling")
    back = sample(
        field,
        x1,
        grid,
        step,
        hooks,
        track_logq=True,
        cond=cond,
        generator=generator,
        divergence=divergence,
    )
    assert back.logq is not None
    return prior.log_prob(back.x) - back.logq
