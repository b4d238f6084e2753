"""Force matching: the score of the flow against the force of the target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import require_above
from ..energy import Energy
from .base import Loss

__all__ = ["ForceMatching"]


@dataclass
class ForceMatching(Loss):
    r"""−log q(x) + weight · ‖∇log q(x) − F(x)‖² / ⟨‖F‖²⟩ with F = −∇E in kT, over data x.

    The second term is the Fisher divergence as a fraction of the mean square force of the batch, hence without a unit.
    Forces come with the data (``batch["force"]``) or are computed.

    Args:
        weight: of the force, above 0.

    Source: Köhler, Krämer & Noé 2021 (arXiv:2110.00351).
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above(0, "force_matching.", self, "weight")

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        x = batch["x"].detach().requires_grad_()
        force = batch["force"] if "force" in batch else self.energy_and_force_of(energy, batch["x"])[1]
        logq = flow.log_prob(x)
        (score,) = torch.autograd.grad(logq.sum(), x, create_graph=True)
        square = (score - force).square().flatten(1).sum(1) / force.square().flatten(1).sum(1).mean()
        return -logq + self.weight * square
