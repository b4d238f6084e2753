"""What the training loop and the pipeline see: a loss, samples, and a density where there is one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..manifolds import Prior, leaves
from ..paths import Coupling, Reflow
from ..rng import Generator

__all__ = ["Coupler", "Model", "Samples"]


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
            shape, dtype = (len(like), *self.event_shape), like.dtype if like.is_floating_point() else None
            x0 = self.prior.sample(*shape, generator=generator, dtype=dtype, device=like.device)
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

    def check(self, likelihood: bool = False, drawing: bool = True, **sampler: Any) -> None:
        """Raise InputError where ``sample`` will not do with these settings, or ``log_prob`` not at all.

        It is asked before training too, which then is not in vain; settings may still come, and ``drawing`` is false.
        """
        if likelihood and type(self).log_prob is Model.log_prob:
            raise InputError(
                f"sampler.likelihood=true: {type(self).__name__} has no tractable density; set it to false"
            )

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
