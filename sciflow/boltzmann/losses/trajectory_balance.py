"""Trajectory balance: a diffusion sampler's paths against the energies they end at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError, require_above
from ..energy import Energy
from .base import Loss
from .softening import softened

__all__ = ["TrajectoryBalance"]


@dataclass
class TrajectoryBalance(Loss):
    r"""(log w − ⟨log w⟩)² over paths of a :class:`sciflow.boltzmann.DiffusionSampler`, log w = −E(x_K) − log q(path).

    Trajectory balance asks for log w = log Z on every path; with the batch's mean for log Z, whose best value it is,
    the loss is the variance of the log-weights. It needs no gradient through the path, nor of the energy, and holds on
    any paths: those of training have ``explore`` times more noise at first, which fades linearly to none. Energies are
    bent as in ``ReverseKL``; a path of infinite energy counts nothing.

    Args:
        explore: additional noise at the start of training, as a fraction.
        cut: kT over the batch's median.

    Source: Malkin et al. 2022 (arXiv:2201.13259); Richter et al. 2020 (arXiv:2010.10436) for the variance; Zhang et al.
    2023 (arXiv:2310.02679) for diffusion samplers.
    """

    explore: float = 0.5
    cut: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above(0, "trajectory_balance.", self, "cut")
        if self.explore < 0:
            raise InputError(f"trajectory_balance.explore={self.explore} must not be negative")

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        with torch.no_grad():
            spread = 1 + self.explore * (1 - self.progress)
            states, _, forces, _ = flow.trajectory(len(batch["x"]), generator, spread)
        self.evaluations += forces.shape[:2].numel()
        value, _ = softened(self.energy_of(energy, states[-1]), self.cut)
        inside = value.isfinite()
        logw = torch.where(inside, -value - flow.path_log_density(states, forces), 0.0)
        mean = logw.detach().sum() / inside.sum().clamp(min=1)
        return torch.where(inside, (logw - mean).square(), 0.0)

    def held_out(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """The loss itself: a sampler by paths has no density."""
        return self(flow, energy, batch, generator)
