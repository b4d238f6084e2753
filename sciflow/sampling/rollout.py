"""Follow a velocity field along a grid of times, and its density with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import Euclidean, Manifold, Product, State, leaves
from ..nets import Field
from ..rng import Generator
from .divergence import by_points, rademacher, velocity_and_divergence
from .steps import Midpoint, Step, Velocity

__all__ = ["Divergence", "Hook", "Rollout", "sample"]

Divergence = Literal["exact", "hutchinson", "points"]

#: A hook turns ``velocity(x, t, **cond)`` into another one.
Hook = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Rollout:
    """Where a rollout ends.

    ``x``: the states; ``logq (B,)``: their log-density under the flow (``None`` unless tracked); ``logw (B,)``:
    log-weights (``None`` unless a hook makes them); ``nfe``: how often the field was evaluated.
    """

    x: State
    logq: Tensor | None
    logw: Tensor | None
    nfe: int


def sample(
    field: Field,
    x0: State,
    grid: Tensor,
    step: Step = Midpoint(),
    hooks: Sequence[Hook] = (),
    track_logq: bool = False,
    logq0: Tensor | None = None,
    cond: Mapping[str, Tensor] | None = None,
    generator: Generator = None,
    divergence: Divergence = "exact",
) -> Rollout:
    """Integrate ``dx/dt = v(x, t)`` from ``grid[0]`` to ``grid[-1]``; a reversed grid inverts the map.

    With ``track_logq``, ``d log q/dt = -div v`` is integrated in the same steps, to the same order; ``v`` is the
    field that is followed, hooks included.

    Args:
        field: the velocity field, with its manifold.
        x0: states ``(B, *E, *point_shape)`` at time ``grid[0]``. Gradients (to ``x0``, and to the parameters) are
            recorded only if it requires them.
        grid: times, rising or falling, one step from each to the next.
        step: ``Euler()``, ``Midpoint()``, ``RK4()`` or ``Dopri5(rtol, atol)``.
        hooks: functions of the velocity, composed left to right: the last one is outermost.
        logq0: log-density ``(B,)`` of ``x0``; without it, ``logq`` is the change along the way.
        cond: passed to the field as keyword arguments, ``B`` rows each.
        divergence: ``"exact"``, one pullback a coordinate; ``"hutchinson"``, one in all, unbiased; ``"points"``, of
            tensors ``(B, *E, n)``: one a coordinate of a point, noisy only by what points do to each other.
        generator: of the probe, which stays the same along the way.

    Raises:
        InputError: when the grid is not a line of times that rise or fall, or ``divergence`` is none of the words.
    """
    if divergence not in get_args(Divergence):
        raise InputError(f"divergence={divergence!r}: use one of {', '.join(get_args(Divergence))}")
    counted = _Counted(field.velocity)
    hooked: Callable[..., Any] = counted
    for hook in hooks:
        hooked = hook(hooked)

    def velocity(x: State, t: Tensor) -> State:
        return hooked(x, t, **(cond or {}))

    with torch.set_grad_enabled(torch.is_grad_enabled() and any(leaf.requires_grad for leaf in leaves(x0))):
        times = _times(grid, leaves(x0)[0])
        if not track_logq:
            return Rollout(_follow(velocity, field.manifold, x0, times, step), None, None, counted.calls)
        probe = _PROBES[divergence](field.manifold, x0, generator)
        x, change = _follow_density(velocity, field.manifold, x0, times, step, probe)
        return Rollout(x, change if logq0 is None else logq0 + change, None, counted.calls)


_PROBES: dict[str, Callable[..., Any]] = {
    "exact": lambda manifold, x, generator: None,
    "hutchinson": rademacher,
    "points": by_points,
}


def _follow(velocity: Velocity, manifold: Manifold[Any], x: Any, times: Tensor, step: Step) -> Any:
    batch = len(leaves(x)[0])
    for t, h in zip(times[:-1], times.diff(), strict=True):
        x = step(velocity, manifold, x, t.expand(batch), h)
    return x


def _follow_density(
    velocity: Velocity, manifold: Manifold[Any], x: State, times: Tensor, step: Step, probe: Any
) -> tuple[State, Tensor]:
    """The state and log q as one point of a product: every step then integrates both, to its full order."""
    factors = manifold.factors if isinstance(manifold, Product) else {"x": manifold}
    whole = isinstance(x, dict)
    augmented = Product(**factors, _logq=Euclidean(1))

    def rates(z: dict[str, Tensor], t: Tensor) -> dict[str, Tensor]:
        inner = {name: z[name] for name in factors}
        v, div = velocity_and_divergence(velocity, manifold, inner if whole else inner["x"], t, probe)
        return {**(v if isinstance(v, dict) else {"x": v}), "_logq": -div[:, None]}

    start = dict(x) if isinstance(x, dict) else {"x": x}
    first = next(iter(start.values()))
    end = _follow(rates, augmented, {**start, "_logq": first.new_zeros(len(first), 1)}, times, step)
    change = end.pop("_logq")[:, 0]
    return (end if whole else end["x"]), change


def _times(grid: Tensor, like: Tensor) -> Tensor:
    times = torch.as_tensor(grid).to(like)
    signs = times.diff().sign() if times.ndim == 1 and len(times) else times.new_zeros(1)
    if (signs == 0).any() or (signs != signs[:1]).any() or not times.isfinite().all():
        raise InputError(
            f"time grid {torch.as_tensor(grid).tolist()}: give a line of finite times that rise, or fall, strictly"
        )
    return times


class _Counted:
    def __init__(self, velocity: Callable[..., Any]) -> None:
        self.velocity = velocity
        self.calls = 0

    def __call__(self, x: State, t: Tensor, **cond: Tensor) -> State:
        self.calls += 1
        return self.velocity(x, t, **cond)
