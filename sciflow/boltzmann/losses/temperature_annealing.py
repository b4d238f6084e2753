"""Temperature annealing: learn the hot target first, then cool by reweighting one's own samples."""

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

__all__ = ["TemperatureAnnealing"]


@dataclass
class TemperatureAnnealing(Loss):
    r"""Reverse KL at ``hot`` times the temperature, where barriers are low, then a ladder down to it.

    At each rung the flow, which knows temperature Tₖ₋₁, is drawn from once; its samples get the weights
    :math:`w ∝ e^{-E/T_k}/q` and are learnt by forward KL until the next rung. Temperatures fall geometrically,
    :math:`T_k = hot^{1 - k/rungs}`, in units of the target's; the last rung is climbed twice, the second time with
    weights that only correct the fit. No data are used.

    Args:
        hot: first temperature, in units of the target's.
        rungs: steps down from it.
        melt: fraction of training for the hot temperature; the rungs share the rest equally.
        samples: drawn for each rung.

    Source: Schopmans & Friederich 2025 (arXiv:2501.19077).
    """

    hot: float = 4.0
    rungs: int = 6
    melt: float = 0.3
    samples: int = 8192

    memory: ClassVar[tuple[str, ...]] = ("evaluations", "rung", "kept")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rung = 0  # that the kept samples are weighted for; 0 is the melt
        self.kept: Kept = {}
        self._melting = ReverseKL()
        require_above(1, "temperature_annealing.", self, "hot")
        require_above(0, "temperature_annealing.", self, "rungs", "samples")
        if not 0 < self.melt < 1:
            raise InputError(f"temperature_annealing.melt={self.melt} must be more than 0 and less than 1")

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        n = len(batch["x"])
        if self.progress < self.melt:
            loss = self._melting(flow, None if energy is None else _Hotter(energy, self.hot), batch, generator)
            self.evaluations += n
            return loss
        rung = min(int((self.progress - self.melt) / (1 - self.melt) * (self.rungs + 1)), self.rungs) + 1
        if rung != self.rung:
            self.rung, self.kept = rung, sampled(self, flow, energy, self.samples, n, generator)
            self.kept["logw"] = -self.kept["energy"] / self.temperature(rung) - self.kept["logq"]
        return -flow.log_prob(self.kept["x"][drawn(self.kept, n, generator)])

    def temperature(self, rung: int) -> float:
        """That of a rung, in units of the target's."""
        return self.hot ** (1 - min(rung, self.rungs) / self.rungs)


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
