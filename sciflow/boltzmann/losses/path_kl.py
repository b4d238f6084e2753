"""Kullback–Leibler divergences of paths, for flows with stochastic layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ..energy import Energy
from .base import Loss

__all__ = ["PathKL"]


@dataclass
class PathKL(Loss):
    """(1 − share)·KL(target paths‖flow paths) + share·KL(flow paths‖target paths), up to constants.

    The first by paths that a `StochasticFlow` draws backwards from the data, the second by as many fresh samples with
    their energies. Both bound the divergences of the end points. Energies that the flow's own layers ask for are not
    among the counted ``evaluations``.

    Args:
        share: of the second, from 0 (data alone) to 1 (energy alone).

    Source: Wu, Köhler & Noé 2020 (arXiv:2002.06707).
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise InputError(f"path_kl.share={self.share} must be from 0 to 1")

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        loss = torch.zeros(())
        if self.share < 1:
            loss = -(1 - self.share) * flow.path_log_prob(batch["x"], generator)
        if self.share > 0:
            x, logq = flow.sample(len(batch["x"]), generator=generator)
            found, force = self.energy_and_force_of(energy, x.detach())
            along = (force * x).flatten(1).sum(1)  # its derivative is that of −energy
            fresh = logq + found - along + along.detach()
            loss = loss + self.share * torch.where(found.isfinite(), fresh, 0.0)
        return loss

    def held_out(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """−log q of one path to each held-out datum, above −log q(x) on average."""
        return -flow.path_log_prob(batch["x"], generator)
