"""Reverse Kullback–Leibler divergence: training by energy alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import require_above
from ..energy import Energy
from .base import Loss
from .softening import softened

__all__ = ["ReverseKL"]


@dataclass
class ReverseKL(Loss):
    r"""KL(q‖p) up to log Z: the mean of log q(x) + E(x) over as many fresh samples of q as the batch has data.

    With x = x_θ(z) the gradient is :math:`E_z[(∇_x \log q(x) + ∇_x E(x)) · ∂x/∂θ]`, plus the score
    :math:`E_q[∂_θ \log q]`, which is zero on average but not in a batch. A path gradient leaves it out: at q = p it
    vanishes sample by sample. It costs one more pass through the flow.

    Energies more than ``cut`` kT above the batch's median grow as a logarithm (:func:`softened`), forces with them; a
    sample of infinite energy or density counts nothing. The divergence is mode-seeking: a mode that q misses may never
    be found.

    Args:
        path_gradient: leave the score out.
        cut: kT over the median.

    Source: Roeder, Wu & Duvenaud 2017 (arXiv:1703.09194); Vaitl et al. 2022 (arXiv:2207.08219) for flows.
    """

    path_gradient: bool = True
    cut: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above(0, "reverse_kl.", self, "cut")

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        x, logq = flow.sample(len(batch["x"]), generator=generator)
        found, force = self.energy_and_force_of(energy, x.detach())
        value, slope = softened(found, self.cut)
        gradient = -force * slope.view(-1, *[1] * (x.ndim - 1))
        if self.path_gradient:
            fixed = x.detach().requires_grad_()
            (score,) = torch.autograd.grad(flow.log_prob(fixed).sum(), fixed)
            gradient, logq = gradient + score, logq.detach()
        along = (x * gradient).flatten(1).sum(1)  # its derivative is gradient · dx
        return torch.where(value.isfinite() & logq.isfinite(), logq + value + along - along.detach(), 0.0)
