"""Sub-trajectory balance: every piece of a diffusion sampler's path against the flow at both its ends."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError, require_above
from ..energy import Energy
from .base import Loss
from .softening import softened

__all__ = ["SubTrajectoryBalance"]


@dataclass
class SubTrajectoryBalance(Loss):
    r"""Balance of all pieces m < n of paths of a :class:`sciflow.boltzmann.DiffusionGFlowNet`.

    .. math:: \frac{\sum_{m<n} λ^{n-m} (g_m - g_n)^2}{\sum_{m<n} λ^{n-m}}, \quad
       g_k = \log F_k(x_k) - \sum_{j<k} \log \frac{P_F(x_{j+1}|x_j)}{P_B(x_j|x_{j+1})},

    which is zero for all paths where P_F is the reversal of P_B from the target and F its density times Z. With F_0 =
    Z N(0, σ²) and F_K = exp(−E) the longest piece is trajectory balance; the shorter ones say where on the path a
    weight is lost. Paths explore and energies are bent as in ``TrajectoryBalance``; those of the states on the way are
    the ones whose forces the sampler asked for.

    Args:
        decay: λ; the greater, the more long pieces count.
        explore, cut: as of ``TrajectoryBalance``.

    Source: Zhang et al. 2023 (arXiv:2310.02679); Madan et al. 2022 (arXiv:2209.12782) for pieces of paths.
    """

    decay: float = 2.0
    explore: float = 0.5
    cut: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above(0, "subtrajectory_balance.", self, "decay", "cut")
        if self.explore < 0:
            raise InputError(f"subtrajectory_balance.explore={self.explore} must not be negative")

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        with torch.no_grad():
            spread = 1 + self.explore * (1 - self.progress)
            states, energies, forces, _ = flow.trajectory(len(batch["x"]), generator, spread)
        self.evaluations += energies.numel()
        value, _ = softened(torch.cat((energies, self.energy_of(energy, states[-1])[None])).flatten(), self.cut)
        value = value.view(len(states), -1)
        inside = value.isfinite().all(0)
        gained = torch.cat((torch.zeros_like(value[:1]), flow.log_ratios(states, forces).cumsum(0)))
        g = torch.where(inside, flow.log_flow(states, torch.where(inside, value, 0.0)) - gained, 0.0)
        m, n = torch.triu_indices(len(g), len(g), 1, device=g.device)
        weight = torch.softmax((n - m).to(g) * math.log(self.decay), 0)
        return weight @ (g[m] - g[n]).square()

    def held_out(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """The loss itself: a sampler by paths has no density."""
        return self(flow, energy, batch, generator)
