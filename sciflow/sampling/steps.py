"""Runge–Kutta steps on manifolds.

A step takes ``(velocity, manifold, x, t, h)`` and returns the state at ``t + h``; ``h`` may be negative.
``velocity(x, t)`` maps states and times ``(B,)`` to tangents. States are tensors or, on a ``Product``, dictionaries:
no step knows which, so an augmented state (see ``rollout``) is stepped like any other.

Euler and Midpoint move along geodesics. RK4 and Dopri5 work in ambient coordinates, where the tangent field extends
to ``z ↦ embed(p, v(p)), p = projx(z)``: its solutions stay on the manifold, so the classical scheme keeps its full
order and one projection at the end only removes its error off the manifold (Hairer, Lubich, Wanner 2006, IV.4).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..manifolds import Manifold, State, leaves, scale, tree_map
from ..paths import GeodesicPath, Linear, Schedule

__all__ = ["RK4", "Dopri5", "Euler", "Midpoint", "PathEuler", "Step", "Velocity"]

Velocity = Callable[[Any, Tensor], Any]


class Step(Protocol):
    """Anything that carries a state from time ``t (B,)`` to ``t + h``, ``h`` a scalar tensor."""

    def __call__(self, velocity: Velocity, manifold: Manifold[Any], x: State, t: Tensor, h: Tensor) -> State: ...


@dataclass(frozen=True)
class Euler:
    """``expmap(x, h·v(x, t))``: order 1, and exact where the velocity points at the end of a geodesic."""

    def __call__(self, velocity: Velocity, manifold: Manifold[Any], x: State, t: Tensor, h: Tensor) -> State:
        return manifold.expmap(x, _times(h, velocity(x, t)))


@dataclass(frozen=True)
class PathEuler:
    """Euler's step as far as the path goes meanwhile: ``expmap(x, (κ(t+h) − κ(t))/κ̇(t) · v(x, t))``, factor by factor.

    Order 1. A field that predicts the endpoint has ``v = κ̇ log_x(x̂1)/(1 − κ)``, so the step covers the fraction
    ``(κ(t+h) − κ(t))/(1 − κ(t))`` of the way to ``x̂1`` and the last one ends there, whatever the grid and the schedule.

    Raises:
        ValueError: a schedule that starts at rest, whose velocity at t = 0 does not say where the path leads.
    """

    path: GeodesicPath

    def __post_init__(self) -> None:
        for schedule in self._schedules().values():
            if not schedule.dkappa(torch.zeros(())):
                raise ValueError(f"{schedule} starts at rest: PathEuler needs a path that moves from t = 0 on")

    def __call__(self, velocity: Velocity, manifold: Manifold[Any], x: State, t: Tensor, h: Tensor) -> State:
        v, schedules = velocity(x, t), self._schedules()
        if not isinstance(v, dict):
            return manifold.expmap(x, scale(_advance(schedules["x"], t, h), v))
        # what is integrated beside the path, such as log q, takes the plain step
        moved = {name: scale(_advance(schedules.get(name, Linear()), t, h), u) for name, u in v.items()}
        return manifold.expmap(x, moved)

    def _schedules(self) -> dict[str, Schedule]:
        return {name: path.schedule for name, path in (self.path.factors or {"x": self.path}).items()}  # type: ignore[misc]  # of one factor


@dataclass(frozen=True)
class Midpoint:
    """``expmap(x, h·v_m)`` with the velocity at the midpoint, transported back to ``x`` along its geodesic: order 2."""

    def __call__(self, velocity: Velocity, manifold: Manifold[Any], x: State, t: Tensor, h: Tensor) -> State:
        half = _times(h / 2, velocity(x, t))
        middle = manifold.expmap(x, half)
        back = _times(-1, manifold.transp_along(x, half, half))
        return manifold.expmap(x, _times(h, manifold.transp_along(middle, back, velocity(middle, t + h / 2))))


@dataclass(frozen=True)
class RK4:
    """The classical four stages, order 4."""

    def __call__(self, velocity: Velocity, manifold: Manifold[Any], x: State, t: Tensor, h: Tensor) -> State:
        rates = _ambient(velocity, manifold)
        slopes = [rates(x, t)]
        _add_stages(slopes, rates, x, t, h, ((1 / 2,), (0, 1 / 2), (0, 0, 1)))
        return manifold.projx(_moved(x, h, (1 / 6, 1 / 3, 1 / 3, 1 / 6), slopes))


@dataclass(frozen=True)
class Dopri5:
    """The Dormand–Prince pair of orders 5 and 4: as many substeps in ``[t, t + h]`` as the tolerances ask for.

    The batch shares its substeps. The error of a substep, relative to ``atol + rtol·|x|``, is the root mean square
    over the coordinates of one factor of one sample, and the worst factor of the worst sample decides: no sample pays
    for its neighbours. Sample ``i`` then agrees between batches to the tolerance (with a fixed step, to rounding).
    The last stage of a substep is the first of the next: six velocities each.

    Raises:
        ArithmeticError: when the substep falls to rounding, because the field is not finite or not smooth.

    Source: Dormand, Prince 1980; Hairer, Nørsett, Wanner 1993, II.4 (first substep, step control).
    """

    rtol: float = 1e-5
    atol: float = 1e-5

    def __call__(self, velocity: Velocity, manifold: Manifold[Any], x: State, t: Tensor, h: Tensor) -> State:
        rates = _ambient(velocity, manifold)
        start, span, done = t, float(h), 0.0
        slopes = [rates(x, t)]
        part = self._first(x, slopes[0], span)
        while done != span:
            last = abs(part) >= abs(span - done)
            part = span - done if last else part
            _add_stages(slopes, rates, x, start + done, part, _DOPRI5)
            y = _moved(x, part, _DOPRI5[-1], slopes[:-1])
            ratio = self._ratio(x, y, _moved(tree_map(torch.zeros_like, x), part, _DOPRI5_ERROR, slopes))
            if ratio <= 1:
                x, slopes = manifold.projx(y), slopes[-1:]
                done = span if last else done + part
            elif abs(part) < 1e-12 * abs(span):
                at = float(start[0]) + done
                raise ArithmeticError(f"Dopri5 stalls at t={at:.6g}: no finite field there, or rtol and atol too small")
            else:
                slopes = slopes[:1]
            part *= min(5.0, max(0.2, 0.9 * max(ratio, 1e-10) ** -0.2)) if ratio < torch.inf else 0.1
        return x

    def _ratio(self, x: State, y: State, error: State) -> float:
        def rms(x: Tensor, y: Tensor, e: Tensor) -> Tensor:
            scaled = e.detach() / (self.atol + self.rtol * torch.maximum(x.detach().abs(), y.detach().abs()))
            return scaled.square().flatten(1).mean(1).sqrt()

        ratios = torch.cat(leaves(tree_map(rms, x, y, error)))
        return float(ratios.max()) if len(ratios) else 0.0

    def _first(self, x: State, slope: State, span: float) -> float:
        speed = self._ratio(x, x, slope)
        length = abs(span) if not speed > 0 else min(abs(span), (0.01 / speed) ** 0.2)
        return length if span > 0 else -length


_DOPRI5 = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_DOPRI5_ERROR = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def _ambient(velocity: Velocity, manifold: Manifold[Any]) -> Velocity:
    """The field extended off the manifold, in ambient coordinates."""

    def rates(z: State, t: Tensor) -> State:
        point = manifold.projx(z)
        return manifold.embed(point, velocity(point, t))

    return rates


def _add_stages(
    slopes: list[State], rates: Velocity, x: State, t: Tensor, h: Tensor | float, rows: Sequence[Sequence[float]]
) -> None:
    """Append one slope per row of a Butcher tableau, whose times are the sums of its rows."""
    for row in rows:
        slopes.append(rates(_moved(x, h, row, slopes), t + sum(row) * h))


def _moved(x: State, h: Tensor | float, weights: Sequence[float], slopes: Sequence[State]) -> State:
    used = [(w, k) for w, k in zip(weights, slopes, strict=True) if w]
    return tree_map(
        lambda z, *ks: z + h * sum(w * k for (w, _), k in zip(used, ks, strict=True)), x, *(k for _, k in used)
    )


def _times(factor: Tensor | float, u: State) -> State:
    return tree_map(lambda v: factor * v, u)


def _advance(schedule: Schedule, t: Tensor, h: Tensor) -> Tensor:
    """The time for which the velocity at ``t`` carries as far as the path goes from ``t`` to ``t + h``."""
    return (schedule.ahead(t) - schedule.ahead(t + h)) / schedule.dkappa(t)
