"""A model of a field: regressed in training, integrated by the step that a configuration names in sampling."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import sampling
from ..errors import InputError
from ..manifolds import Prior
from ..nets import Field
from ..objectives import Late
from ..paths import Coupling, GeodesicPath, Pair, Path
from ..rng import Generator
from .models import Coupler, Model, Samples

__all__ = ["ODE_STEPS", "FieldModel", "require_step", "solver_step"]

CANDIDATES = 64  # steps between which an optimal grid chooses

_STEPS: dict[str, type[sampling.Step]] = {
    "euler": sampling.Euler,
    "midpoint": sampling.Midpoint,
    "rk4": sampling.RK4,
    "dopri5": sampling.Dopri5,
}
ODE_STEPS = tuple(_STEPS)  # which follow a velocity
_OTHERS = ("path", "tau_leap", "confidence", "autoregressive")  # which follow a path, or the posterior of letters


class FieldModel(Model):
    """A field that moves prior to data: coupled and regressed in training, integrated in sampling.

    Args:
        field: the network, a :class:`sciflow.nets.Field`.
        path: bridge between a source and a data point.
        coupling: which source point goes with which data point.
        objective: what the field regresses.
        prior: source distribution; the same one in training and sampling.
        event_shape: ``E``, the atoms or residues or sites of one sample.
        clock: maps equal times to those of the solver's grid, such as ``Late(2)``, which crowd near the data.
    """

    def __init__(
        self,
        field: Field,
        path: Path,
        coupling: Coupling,
        objective: Callable[..., Tensor],
        prior: Prior[Any],
        event_shape: tuple[int, ...] = (),
        clock: Callable[[Tensor], Tensor] = Late(1),
    ) -> None:
        super().__init__()
        self.field = field
        self.path = path
        self.coupling = coupling
        self.objective = objective
        self.prior = prior
        self.event_shape = tuple(event_shape)
        self.clock = clock

    @property
    def coupler(self) -> Coupler:  # type: ignore[override]
        return Coupler(self.prior, self.coupling, self.event_shape)

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        """Of a coupled batch; a plain one (``x`` and its conditions) is coupled first."""
        coupled = batch if {"x0", "weight"} <= batch.keys() else self.coupler(batch, generator)
        cond = {key: value for key, value in coupled.items() if key not in ("x", "x0", "weight")}
        return self.objective(
            self.field, self.path, Pair(coupled["x0"], coupled["x"], coupled["weight"], cond), generator
        )

    def check(
        self, likelihood: bool = False, drawing: bool = True, *, step: str = "midpoint", grid: Any = None, **_: Any
    ) -> None:
        super().check(likelihood)
        if step == "dopri5" and grid == "optimal":
            raise InputError(
                "sampler.grid=optimal: dopri5 places its steps itself; use another sampler.step, or no grid"
            )
        solver_step(step, self.path)

    @torch.no_grad()
    def sample(  # type: ignore[override]  # its solver settings, by name
        self,
        n: int,
        cond: dict[str, Tensor] | None = None,
        generator: Generator = None,
        *,
        steps: int = 50,
        step: str = "midpoint",
        track_logq: bool = False,
        grid: Tensor | None = None,
    ) -> Samples:
        """Integrate the field from prior to data.

        Args:
            steps: number of steps from t=0 to t=1, equal by the ``clock`` (where ``grid`` does not say otherwise).
            step: ``euler``, ``midpoint``, ``rk4``, ``dopri5``, or ``path``: Euler's by the schedule of the path.
            track_logq: follow the log-density along the path, at the price of the divergence of the field.
            grid: the times themselves, 1-D and increasing from 0 to 1.
        """
        x0 = self._sources(n, generator)
        if grid is None:
            grid = self._times(steps)
        rollout = sampling.sample(
            self.field,
            x0,
            grid,
            step=solver_step(step, self.path),
            track_logq=track_logq,
            logq0=self.prior.log_prob(x0) if track_logq else None,
            cond=cond,
            generator=generator,
        )
        return Samples(rollout.x, rollout.logq, rollout.nfe, x0=x0)

    @torch.no_grad()
    def optimal_grid(  # type: ignore[override]  # as ``sample``
        self,
        n: int,
        cond: dict[str, Tensor] | None = None,
        generator: Generator = None,
        *,
        steps: int = 50,
        step: str = "midpoint",
        track_logq: bool = False,
    ) -> Tensor:
        """Among ``CANDIDATES`` times of the ``clock``, or twice as many as there are steps."""
        self.check(step=step, grid="optimal")
        fine, chosen = self._times(max(CANDIDATES, 2 * steps)), solver_step(step, self.path)
        return sampling.optimal_grid(self.field, self._sources(n, generator), steps, fine, chosen, cond)

    def _sources(self, n: int, generator: Generator) -> Any:
        like = next(self.parameters(), torch.empty(0))
        return self.prior.sample(n, *self.event_shape, generator=generator, dtype=like.dtype, device=like.device)

    def _times(self, steps: int) -> Tensor:
        like = next(self.parameters(), torch.empty(0))
        return self.clock(torch.linspace(0, 1, steps + 1, dtype=like.dtype, device=like.device))

    def log_prob(self, x: Any, cond: dict[str, Tensor] | None = None, tolerance: float = 1e-5) -> Tensor:
        """By adaptive steps; where the manifold is not smooth, in ``1/tolerance`` steps (RK4) of the model's clock."""
        if self.field.manifold.smooth:
            return sampling.log_prob(self.field, x, self.prior, step=sampling.Dopri5(tolerance, tolerance), cond=cond)
        grid = self.clock(torch.linspace(1, 0, math.ceil(1 / tolerance) + 1))
        return sampling.log_prob(self.field, x, self.prior, step=sampling.RK4(), grid=grid, cond=cond)


def require_step(name: str) -> None:
    """Raises InputError, naming the steps there are, where a configuration names none of them."""
    if name not in (known := [*ODE_STEPS, *_OTHERS]):
        raise InputError(f"sampler.step={name!r} is not a step: use one of {', '.join(known)}")


def solver_step(name: str, path: Path) -> sampling.Step:
    """The step that a configuration names, for a model with this path."""
    require_step(name)
    if name in _STEPS:
        return _STEPS[name]()
    if name != "path" or not isinstance(path, GeodesicPath):
        raise InputError(f"sampler.step={name}: {type(path).__name__} has no such step; use one of {', '.join(_STEPS)}")
    return sampling.PathEuler(path)
