"""A model that knows its log-density: a normalizing flow, or a sampler by paths."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..boltzmann import Energy
from ..boltzmann.losses import ForwardKL, Loss
from ..errors import InputError
from ..flows import ModuleTransform
from ..rng import Generator
from .models import Model, Samples

__all__ = ["FlowModel"]


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
