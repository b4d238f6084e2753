"""Time grids on which few steps follow a field best."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import State, leaves, tree_map
from ..nets import Field
from .steps import Euler, Midpoint, Step

__all__ = ["optimal_grid", "step_costs"]


def optimal_grid(
    field: Field,
    x0: State,
    steps: int,
    fine: int | Tensor = 64,
    step: Step = Euler(),
    cond: Mapping[str, Tensor] | None = None,
    along: Step = Midpoint(),
    dist: Callable[[Any, Any], Tensor] | None = None,
) -> Tensor:
    r"""Times ``(steps + 1,)`` from 0 to 1 whose steps leave a finely integrated trajectory least, on any manifold.

    .. math:: \min_{0 = i_0 < \dots < i_K = F} \sum_k c_{i_k i_{k+1}}, \qquad
              c_{ij} = \mathrm{E}\, d^2\bigl(\exp_{x_i}((t_j - t_i)\, v(x_i, t_i)),\; x_j\bigr)

    by dynamic programming (Bellman), over sources ``x0``. On straight paths all costs are zero, and any grid does.

    Args:
        field: the velocity field, with its manifold.
        x0: sources ``(B, *E, *point_shape)``; some dozens do.
        steps: K.
        fine: F, the number of equal steps between which grids choose; or the F + 1 times themselves.
        step: what the grid is for; c is the error of one such step, in place of Euler's.
        cond: passed to the field as keyword arguments, ``B`` rows each.
        along: the steps of the fine trajectory. Where they and ``step`` ask for one velocity each, the field is asked
            once at each time, in order, and may remember: c is then of the rollout that sampling does.
        dist: d ``(B, *E)``; that of the manifold by default, which on a product adds nanometres to radians.

    Raises:
        InputError: more steps than there are between the times to choose from.

    Source: Nguyen, Nguyen, Nguyen 2023 (Bellman optimal stepsize straightening), arXiv:2312.16414.
    """
    like = leaves(x0)[0]
    times = torch.linspace(0, 1, fine + 1) if isinstance(fine, int) else fine
    times = times.to(like)
    if not 1 <= steps < len(times):
        raise InputError(f"steps={steps}: a grid of {len(times)} times has 1 to {len(times) - 1} of them")
    costs, best = step_costs(field, x0, times, step, cond, along, dist), like.new_full((len(times),), torch.inf)
    best[0] = 0.0
    before = []
    for _ in range(steps):
        best, choice = (best[:, None] + costs).min(0)
        before.append(choice)
    places = [len(times) - 1]
    for choice in reversed(before):
        places.append(int(choice[places[-1]]))
    return times[places[::-1]]


@torch.no_grad()
def step_costs(
    field: Field,
    x0: State,
    times: Tensor,
    step: Step = Euler(),
    cond: Mapping[str, Tensor] | None = None,
    along: Step = Midpoint(),
    dist: Callable[[Any, Any], Tensor] | None = None,
) -> Tensor:
    """``c_ij (T, T)``: mean squared distance of one ``step`` from ``times[i]`` to ``times[j]`` from the trajectory.

    That is integrated by steps ``along`` from each of the times to the next. Infinite for j ≤ i.
    """
    manifold, batch, dist = field.manifold, len(leaves(x0)[0]), dist or field.manifold.dist

    def velocity(x: State, t: Tensor) -> State:
        return field.velocity(x, t, **(cond or {}))

    x, asked = [x0], []
    for t, h in zip(times[:-1], times.diff(), strict=True):
        asked.append(_Remembered(velocity, x[-1], t.expand(batch)))
        x.append(along(asked[-1], manifold, x[-1], t.expand(batch), h))
    costs = times.new_full((len(times), len(times)), torch.inf)
    for i, start in enumerate(x[:-1]):
        for j in range(i + 1, len(times)):
            end = step(asked[i], manifold, start, times[i].expand(batch), times[j] - times[i])
            costs[i, j] = dist(end, x[j]).square().sum() / batch
    return costs


class _Remembered:
    """A velocity that is not computed again where every step begins."""

    def __init__(self, velocity: Any, start: State, t: Tensor) -> None:
        self.velocity, self.start = velocity, start
        self.first = velocity(start, t)

    def __call__(self, x: State, t: Tensor) -> State:
        return tree_map(torch.clone, self.first) if x is self.start else self.velocity(x, t)
