"""The straight path to a vertex of the simplex."""

import math

import torch
from torch import Tensor

from ..manifolds import scale
from ..rng import Generator
from .categorical import SimplexPath, floored_ahead, over_sites
from .schedules import Linear, Schedule

__all__ = ["LinearSimplexPath"]


class LinearSimplexPath(SimplexPath):
    """``x_t = (1 − κ) x0 + κ e_k``, with velocity ``κ̇ (p − x_t)/(1 − κ)`` of the posterior p.

    Given the letter, ``x_t`` is uniform on a copy of the simplex shrunk by 1 − κ towards ``e_k``: the posterior is
    that of the letters with ``x_k ≥ κ``, all alike, and from κ = ½ on one alone. With many letters it is certain far
    earlier: ``P(x_j ≥ κ) = ((1 − 2κ)/(1 − κ))^{k−1}`` for another letter j, so that a sampler decides within
    κ of some log(k)/k. This is why the path fails where there are many letters.

    Source: Stark et al. 2024 (arXiv:2402.05841), section 3.1.
    """

    def __init__(self, k: int, schedule: Schedule = Linear()) -> None:
        super().__init__(k)
        self.schedule = schedule

    def point(self, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> Tensor:
        return x1 + scale(self.schedule.ahead(t), x0 - x1)

    def velocity(self, posterior: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """``κ̇ (p − x_t)/(1 − κ)``, finite at t = 1 (1 − κ is floored), and zero there at the end of the path."""
        return scale(self.schedule.dkappa(t) / floored_ahead(self.schedule, t), posterior - x_t)

    def advance(self, posterior: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: Generator = None) -> Tensor:
        """``p + (x_t − p)(1 − κ_s)/(1 − κ_t)``, exact; at s = 1 the posterior itself."""
        return posterior + scale(self.schedule.ahead(s) / floored_ahead(self.schedule, t), x_t - posterior)

    def log_conditional(self, x_t: Tensor, t: Tensor) -> Tensor:
        """The density of a shrunk simplex. Outside, in place of −∞, it falls by 1 with each rounding of distance.

        A state that a step (or rounding) took out of every support then has a posterior still: the nearest letter's.
        """
        log_uniform = math.lgamma(self.k) - math.log(self.k) / 2
        inside = log_uniform - (self.k - 1) * floored_ahead(self.schedule, t).log()
        short = (over_sites(self.schedule.kappa(t), x_t) - x_t).clamp_min(0)
        return over_sites(inside, x_t) - short / torch.finfo(x_t.dtype).eps
