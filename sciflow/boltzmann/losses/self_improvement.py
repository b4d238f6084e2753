"""Self-improvement: what the flow's own weights say is wrong, without heavy tails."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import InputError, require_above
from ..energy import Energy
from .base import Loss

__all__ = ["SelfImprovement"]

_MEMORY = 0.95  # of the running log Z, a step
_LARGEST = 30.0  # log-weight above which the coefficient is its limit to rounding


@dataclass
class SelfImprovement(Loss):
    r"""Forward KL on the data, then forward KL to the target itself through samples of the flow and data together.

    A batch of r = (f q + p)/(f + 1), f fresh samples for each datum, gives the gradient of KL(p‖q) with the control
    variate :math:`E_q[∂_θ \log q] = 0`:

    .. math:: -∂_θ KL = E_r\left[\frac{p - q}{r} ∂_θ \log q\right]
       = E_r\left[\frac{(f + 1)(w - 1)}{f + w} ∂_θ \log q\right], \quad w = e^{-E - \log q - \log Z}.

    The coefficient lies between −(f + 1)/f and f + 1 and vanishes at w = 1, sample by sample: whatever the data's bias,
    the minimum is p. Outside the target w = 0. log Z is the log-mean weight of the fresh samples, averaged over some
    twenty steps; the average is of logarithms, so that one huge weight does not silence the steps after it. Fresh
    samples without any weight leave it as it was.

    Args:
        start: fraction of training after which it begins; the flow must be near the target by then.
        fresh: f. The batch keeps its size: the first f/(f + 1) of its data give way to fresh samples.
    """

    start: float = 0.5
    fresh: int = 2

    memory: ClassVar[tuple[str, ...]] = ("evaluations", "log_z")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.log_z: Tensor | None = None
        require_above(0, "self_improvement.", self, "fresh")
        if not 0 <= self.start < 1:
            raise InputError(f"self_improvement.start={self.start} must be at least 0 and less than 1")

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        if self.progress < self.start:
            return -flow.log_prob(batch["x"])
        size = len(batch["x"])
        if size < 2:
            raise InputError(f"trainer.batch_size={size}: self_improvement needs 2 or more, data and fresh samples")
        n = size - max(1, size // (self.fresh + 1))
        with torch.no_grad():
            x = flow.sample(n, generator=generator)[0]
        x = torch.cat((x, batch["x"][n:].to(x)))
        logq = flow.log_prob(x)
        logw = -self.energy_of(energy, x) - logq.detach()
        now = torch.logsumexp(logw[:n], 0) - math.log(n)
        known = now if self.log_z is None else self.log_z
        self.log_z = torch.where(now.isfinite() & known.isfinite(), torch.lerp(now, known, _MEMORY), now.maximum(known))
        w = torch.where(logw == -torch.inf, 0.0, (logw - self.log_z).clamp(max=_LARGEST).exp())
        return -(self.fresh + 1) * (w - 1) / (self.fresh + w) * logq
