"""Temperature annealing: learn the hot target first, then cool with one's own samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import InputError, require_above
from ..energy import Energy
from .base import Loss
from .own_samples import Kept, drawn, sampled
from .reverse_kl import ReverseKL
from .self_improvement import SelfImprovement

__all__ = ["TemperatureAnnealing"]


@dataclass
class TemperatureAnnealing(Loss):
    r"""Reverse KL at ``hot`` times the temperature, where barriers are low; then slowly cooled, by forward KL as well.

    After the melt the temperature falls geometrically, from ``hot`` to 1 in units of the target's, until ``cold`` of
    training is done. From now and then samples of the flow are kept; with weights :math:`w ∝ e^{-E/T}/q` they are data
    of any temperature T, and steps of ``SelfImprovement`` on them, which know every mode that the flow has not lost,
    take turns with steps of reverse KL, which learn the shape of each from its forces. No data are used.

    Args:
        hot: first temperature, in units of the target's.
        melt: fraction of training for the hot temperature, by reverse KL alone.
        cold: fraction of training after which the temperature is the target's.
        polish: fraction of training after which reverse KL rests.
        rungs: times that samples are drawn to be kept, after the melt.
        samples: drawn each time.

    Source: after Schopmans & Friederich 2025 (arXiv:2501.19077), who descend a ladder by fits to weighted samples.
    """

    hot: float = 4.0
    melt: float = 0.3
    cold: float = 0.7
    polish: float = 0.8
    rungs: int = 20
    samples: int = 8192

    memory: ClassVar[tuple[str, ...]] = ("evaluations", "rung", "calls", "log_z", "kept")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rung = -1  # that the kept samples were drawn at
        self.calls = 0
        self.kept: Kept = {}
        self._melting, self._improving = ReverseKL(), SelfImprovement(start=0.0)
        require_above(1, "temperature_annealing.", self, "hot")
        require_above(0, "temperature_annealing.", self, "melt", "rungs", "samples")
        if not self.melt < self.cold <= self.polish < 1:
            raise InputError(
                f"temperature_annealing.melt={self.melt}, cold={self.cold}, polish={self.polish} must rise, below 1"
            )

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        temperature, n = self.temperature(self.progress), len(batch["x"])
        target = None if energy is None else _Hotter(energy, temperature)
        self.calls += 1
        if self.progress < self.melt or (self.progress < self.polish and self.calls % 2 == 0):
            return self._by(self._melting, flow, target, batch, generator)
        rung = min(int((self.progress - self.melt) / (1 - self.melt) * self.rungs), self.rungs - 1)
        if rung != self.rung:
            self.rung, self.kept = rung, sampled(self, flow, energy, self.samples, n, generator)
        logw = -self.kept["energy"] / temperature - self.kept["logq"]
        data = {"x": self.kept["x"][drawn({"logw": logw}, n, generator)]}
        return self._by(self._improving, flow, target, data, generator)

    def temperature(self, progress: float) -> float:
        """That of a moment of training, in units of the target's."""
        return self.hot ** (1 - min(max((progress - self.melt) / (self.cold - self.melt), 0.0), 1.0))

    @property
    def log_z(self) -> Tensor | None:
        """Running log Z of self-improvement."""
        return self._improving.log_z

    @log_z.setter
    def log_z(self, value: Tensor | None) -> None:
        self._improving.log_z = value

    def _by(self, loss: Loss, *args: Any) -> Tensor:
        """A step of another loss, whose energies count as those of this one."""
        before = loss.evaluations
        value = loss(*args)
        self.evaluations += loss.evaluations - before
        return value


@dataclass
class _Hotter:
    """The target at ``times`` its temperature, whatever the unit of that."""

    target: Energy
    times: float

    def energy(self, x: Tensor) -> Tensor:
        return self.target.energy(x) / self.times

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        energy, force = self.target.energy_and_force(x)
        return energy / self.times, force / self.times

    def at(self, temperature: float) -> "_Hotter":
        return _Hotter(self.target.at(temperature), self.times)
