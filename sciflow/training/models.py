"""What the training loop and the pipeline see: a loss, samples, and a density where there is one."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import sampling
from ..boltzmann import Energy
from ..boltzmann.losses import ForwardKL, Loss
from ..errors import InputError
from ..flows import ModuleTransform
from ..manifolds import Prior, leaves
from ..nets import Field
from ..objectives import Late
from ..paths import Coupling, GeodesicPath, Pair, Path, Reflow
from ..rng import Generator

__all__ = ["Coupler", "FieldModel", "FlowModel", "Model", "Samples", "require_step", "solver_step"]

CANDIDATES = 64  # steps between which an optimal grid chooses

_STEPS: dict[str, type[sampling.Step]] = {
    "euler": sampling.Euler,
    "midpoint": sampling.Midpoint,
    "rk4": sampling.RK4,
    "dopri5": sampling.Dopri5,
}


class Samples(NamedTuple):
    """Samples ``x`` (B, *E, *P), their log-density ``logq`` (B,) where known, and the network calls that each cost.

    ``test_logp``: log-densities of the held-out data under the model, where they were asked for;
    ``test_logp_error``: how far each of them moves when the tolerance of the integration is halved. ``x0``: the sources
    that a flow carried to ``x``, where it has any; ``cond``: what each sample was conditioned on, tensors (or states)
    by name, filled in by the sample stage.
    """

    x: Tensor | dict[str, Tensor]
    logq: Tensor | None
    nfe: int
    test_logp: Tensor | None = None
    test_logp_error: Tensor | None = None
    x0: Tensor | dict[str, Tensor] | None = None
    cond: dict[str, Any] | None = None


@dataclass(frozen=True)
class Coupler:
    """Draws a source for each data point of a batch and pairs them: adds ``x0`` and ``weight``; conditions follow.

    Sources that came with the batch stay, with the data that they came with (:class:`sciflow.paths.Reflow`).
    """

    prior: Prior[Any]
    coupling: Coupling
    event_shape: tuple[int, ...] = ()

    def __call__(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        like, cond = leaves(batch["x"])[0], {key: value for key, value in batch.items() if key not in ("x", "x0")}
        x0, coupling = batch.get("x0"), Reflow() if "x0" in batch else self.coupling
        if x0 is None:
            shape = (len(like), *self.event_shape)
            x0 = self.prior.sample(*shape, generator=generator, dtype=like.dtype, device=like.device)
        with torch.autocast(like.device.type, enabled=False):  # rotations and assignments are not for bfloat16
            pair = coupling.pair(x0, batch["x"], cond)
        return {"x": pair.x1, "x0": pair.x0, "weight": pair.weight, **pair.cond}


class Model(nn.Module, ABC):
    """A generative model: everything between a batch of data and a sample."""

    #: What the loader does to a batch before ``loss`` sees it, beside the training step.
    coupler: Coupler | None = None

    #: Energies of a target that training has asked for so far.
    evaluations: int = 0

    #: Whether the weights of the lowest validation loss are the best ones.
    validated: bool = True

    @abstractmethod
    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        """Loss of each sample, (B,). ``batch["x"]`` is the data, every other key conditions it."""

    def forward(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        """The loss, by the name under which wrappers for precision and several devices see it."""
        return self.loss(batch, generator)

    def advance(self, progress: float) -> None:
        """Hear, before each step, what fraction of training is done."""

    def training_state(self) -> dict[str, Any]:
        """What training remembers beside weights: tensors, numbers and dicts of them. No part of the trained model."""
        return {}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`training_state` gave."""

    def compile_for_training(self) -> None:
        """Have torch compile what a step spends its time in. Raises InputError where there is nothing of the kind."""
        raise InputError(f"trainer.compile=true: {type(self).__name__} is not compiled; leave it out")

    @abstractmethod
    def sample(
        self, n: int, cond: dict[str, Tensor] | None = None, generator: Generator = None, **sampler: Any
    ) -> Samples:
        """``n`` samples; ``sampler`` are the solver settings this model understands."""

    def optimal_grid(
        self, n: int, cond: dict[str, Tensor] | None = None, generator: Generator = None, **sampler: Any
    ) -> Tensor:
        """Times for ``sample(…, grid=…)`` on which as many steps err least, by ``n`` trajectories."""
        raise InputError(f"sampler.grid=optimal: {type(self).__name__} has no time steps to place; leave it out")

    def log_prob(self, x: Any, cond: dict[str, Tensor] | None = None, tolerance: float = 1e-5) -> Tensor:
        """Log-density of data, (B,); ``tolerance`` is that of the integration, where there is one."""
        raise NotImplementedError(f"{type(self).__name__} has no tractable density")


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
        if step == "dopri5":
            raise InputError(
                "sampler.grid=optimal: dopri5 places its steps itself; use another sampler.step, or no grid"
            )
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


class FlowModel(Model):
    """A normalizing flow, or another sampler that knows its log-density. It takes no conditions.

    Args:
        flow: ``sample(n, generator) -> (x, logq)`` and, but for samplers by paths, ``log_prob(x)``.
        energy: of the target, for losses that ask for it; forces of the data may come with them as ``force``.
        loss: what it is trained by, one of :mod:`sciflow.boltzmann.losses`; validation is by −log q(x) of held-out
            data.
    """

    energy: Energy | None

    def __init__(self, flow: nn.Module, energy: Energy | None = None, loss: Loss | None = None) -> None:
        super().__init__()
        self.flow: Any = flow
        self.__dict__["energy"] = energy  # not a module of this one: its tensors are no part of the trained model
        self.objective = loss or ForwardKL()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FlowModel":
        """The energy follows its flow to a device and a dtype."""
        if isinstance(self.energy, nn.Module):
            self.energy._apply(fn)
        return super()._apply(fn, recurse)

    @property
    def evaluations(self) -> int:  # type: ignore[override]
        return self.objective.evaluations

    @property
    def validated(self) -> bool:  # type: ignore[override]
        return self.objective.validated

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        _unconditional([key for key in batch if key not in ("x", "force")])
        objective = self.objective if self.training else self.objective.held_out
        with torch.autocast(batch["x"].device.type, enabled=False):  # a density in bfloat16 is none
            return objective(self.flow, self.energy, batch, generator)

    def advance(self, progress: float) -> None:
        self.objective.progress = progress

    def compile_for_training(self) -> None:
        transform = getattr(self.flow, "transform", None)
        if not isinstance(transform, ModuleTransform):
            super().compile_for_training()
        for name in ("call_and_ladj", "inverse_and_ladj"):  # whole: random draws and energies stay outside
            setattr(transform, name, torch.compile(getattr(transform, name), fullgraph=True))

    def training_state(self) -> dict[str, Any]:
        return self.objective.state()

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        self.objective.load_state(state)

    @torch.no_grad()
    def sample(  # type: ignore[override]  # it has no solver to set
        self, n: int, cond: dict[str, Tensor] | None = None, generator: Generator = None, *, track_logq: bool = True
    ) -> Samples:
        _unconditional(cond)
        x, logq = self.flow.sample(n, generator=generator)
        return Samples(x, logq if track_logq else None, nfe=1)

    def log_prob(self, x: Any, cond: dict[str, Tensor] | None = None, tolerance: float = 1e-5) -> Tensor:
        _unconditional(cond)
        return self.flow.log_prob(x)


def _unconditional(cond: Collection[str] | None) -> None:
    if cond:
        raise InputError(f"conditions {', '.join(cond)}: a normalizing flow takes none; leave them out of the data")


def require_step(name: str) -> None:
    """Raises InputError, naming the steps there are, where a configuration names none of them."""
    if name not in (known := [*_STEPS, "path"]):
        raise InputError(f"sampler.step={name!r} is not a step: use one of {', '.join(known)}")


def solver_step(name: str, path: Path) -> sampling.Step:
    """The step that a configuration names, for a model with this path."""
    require_step(name)
    if name in _STEPS:
        return _STEPS[name]()
    if not isinstance(path, GeodesicPath):
        raise InputError(f"sampler.step=path: {type(path).__name__} has no such step; use one of {', '.join(_STEPS)}")
    return sampling.PathEuler(path)
