"""Paths that are straight in the logits: analog bits on the simplex."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..manifolds import scale
from ..rng import Generator, normal
from .categorical import SimplexPath, floored_ahead, log_floored, over_sites
from .schedules import Linear, Schedule

__all__ = ["LogisticNormal", "LogitPath"]


class LogitPath(SimplexPath):
    """``x_t = softmax(z_t)``, ``z_t = (1 − κ) z0 + κ z1``: normal noise z0, the bits ``z1 = ±scale`` of a letter.

    A softmax does not see what all logits share, so that z1 is ``2·scale·e_k``, and the field of a posterior p is
    ``x ⊙ (ż − ⟨ż, x⟩)``, ``ż = κ̇ (2·scale·p − log x)/(1 − κ)``. The end is short of the vertex by
    ``(k − 1) e^{−2·scale}``.

    Args:
        scale: of the bits. By default the end is within a millionth of the vertex, ``½ log(10⁶ (k − 1))``: 7.5 at
            k = 4. Bits of ±1 as in the source end at 0.71 there, and a state of them is no letter before it is rounded.

    Raises:
        ValueError: when ``scale`` is not positive.

    Source: Chen, Zhang, Hinton 2022 (arXiv:2208.04202), one bit a letter.
    """

    def __init__(self, k: int, scale: float | None = None, schedule: Schedule = Linear()) -> None:
        super().__init__(k)
        self.scale = math.log(1e6 * (k - 1)) / 2 if scale is None else scale
        if not self.scale > 0:
            raise ValueError(f"scale={scale} of the bits: give a positive number")
        self.schedule = schedule
        self.prior: LogisticNormal = LogisticNormal(k)

    def point(self, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> Tensor:
        return self.advance(x1, x0, torch.zeros_like(t), t)

    def velocity(self, posterior: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        rate = self.schedule.dkappa(t) / floored_ahead(self.schedule, t)
        z = scale(rate, 2 * self.scale * posterior - log_floored(x_t))
        return x_t * (z - (x_t * z).sum(-1, keepdim=True))

    def advance(self, posterior: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: Generator = None) -> Tensor:
        """``z_s = z1 + (z_t − z1)(1 − κ_s)/(1 − κ_t)`` with the posterior's mean of z1, exact."""
        z1 = 2 * self.scale * posterior
        return (z1 + scale(self.schedule.ahead(s) / floored_ahead(self.schedule, t), log_floored(x_t) - z1)).softmax(-1)

    def log_conditional(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.prior.log_densities(x_t, 2 * self.scale * self.schedule.kappa(t), floored_ahead(self.schedule, t))


@dataclass(frozen=True)
class LogisticNormal:
    """``x = softmax(z)`` ``(…, k)`` of standard normal z (Aitchison, Shen 1980)."""

    k: int

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw ``(*shape, k)``."""
        return normal(*shape, self.k, generator=generator, dtype=dtype, device=device).softmax(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` of ``x (B, *E, k)`` with respect to the flat volume, summed over E."""
        zero = x.new_zeros(len(x))
        return self.log_densities(x, zero, zero + 1)[..., 0].reshape(len(x), -1).sum(1)

    def log_densities(self, x: Tensor, shift: Tensor, sigma: Tensor) -> Tensor:
        r"""Log-density ``(B, *E, k)`` of ``softmax(y e_k + σ z)`` for every k, with ``shift`` y and σ ``(B,)``.

        With centred logits ``ℓ``, ``|ℓ − y(e_k − 1/k)|² = |ℓ|² − 2yℓ_k + y²(1 − 1/k)``, and the flat volume is
        ``k Π x_i`` times that of ``ℓ``.
        """
        log_x = log_floored(x)
        centred = log_x - log_x.mean(-1, keepdim=True)
        square = centred.square().sum(-1, keepdim=True) + over_sites(shift.square() * (1 - 1 / self.k), x)
        square = square - 2 * scale(shift, centred)
        common = -(self.k - 1) * (sigma * math.sqrt(2 * math.pi)).log() - math.log(self.k)
        volume = over_sites(common, x) - log_x.sum(-1, keepdim=True)
        return volume - scale(0.5 / sigma.square(), square)
