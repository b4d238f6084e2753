"""What a loss of a Boltzmann generator is, and how many target energies it has cost."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import InputError
from ..energy import Energy

__all__ = ["Loss"]


@dataclass
class Loss(ABC):
    """A loss of a flow q on a batch of data and on the target p ∝ exp(−energy).

    Its fields are its settings. What it learns while it runs (samples, a running log Z, the number of energies it has
    asked for) are plain attributes named in ``memory``: a checkpoint holds them, the trained model does not.
    """

    memory: ClassVar[tuple[str, ...]] = ("evaluations",)
    needs_energy: ClassVar[bool] = True
    #: Whether the likelihood of held-out data says which weights are the best; of biased data it may not.
    validated: ClassVar[bool] = False

    def __post_init__(self) -> None:
        #: Target energies (with or without force) computed so far, one a sample.
        self.evaluations = 0
        #: Where training stands, from 0 to 1; the fit loop sets it before each step.
        self.progress = 0.0

    @abstractmethod
    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """One number a sample that the mean is taken of, ``(n,)``; ``batch["x"]`` is data, and n its length or more."""

    def held_out(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """The loss of validation: −log q(x) ``(B,)`` of held-out data, whatever the flow is trained by."""
        return -flow.log_prob(batch["x"])

    def state(self) -> dict[str, Any]:
        """What it remembers: tensors, numbers, and dicts of them."""
        return {name: getattr(self, name) for name in self.memory}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        for name in self.memory:
            setattr(self, name, state[name])

    def energy_of(self, energy: Energy | None, x: Tensor) -> Tensor:
        """Energies ``(n,)``, counted, without gradient; +∞ where they are not finite."""
        self.evaluations += len(x)
        with torch.no_grad():
            found = _given(energy, self).energy(x)
        return torch.where(found.isfinite(), found, torch.inf)

    def energy_and_force_of(self, energy: Energy | None, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same with forces like ``x``, zero where energy or force are not finite."""
        self.evaluations += len(x)
        found, force = _given(energy, self).energy_and_force(x)
        good = found.isfinite() & force.flatten(1).isfinite().all(1)
        wide = good.view(-1, *[1] * (x.ndim - 1))
        return torch.where(good, found, torch.inf).detach(), torch.where(wide, force, 0.0).detach()


def _given(energy: Energy | None, loss: Loss) -> Energy:
    if energy is None:
        raise InputError(f"{type(loss).__name__} needs an energy, and this model has none: use ForwardKL")
    return energy
