"""Gumbel-softmax paths: logits that a temperature sharpens."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import scale
from ..rng import Generator, uniform
from .categorical import SimplexPath, log_floored, over_sites

__all__ = ["GumbelSoftmax", "GumbelSoftmaxPath", "Variant"]

Variant = Literal["consistent", "published"]


class GumbelSoftmaxPath(SimplexPath):
    r"""Logits move to the letter at the rate at which ``1/τ(t)``, ``τ = τ_max e^{−λt}``, grows.

    .. math:: u_t(x \mid e_k) = \tfrac{λ}{τ(t)} x_k (e_k - x), \qquad
              x_t = \mathrm{softmax}\bigl(\log x_0 + e_k (1/τ(t) - 1/τ(0))\bigr)

    The path on the right is the flow of the field on the left, in closed form, from ``x0 = softmax(g/(β τ_max))`` with
    Gumbel noise g. The field of a posterior p is ``x ⊙ (p − ⟨p, x⟩) λ/τ``: logits move by ``p d(1/τ)``, which is exact
    too while p stays. This is the ``"consistent"`` variant, the default.

    ``"published"`` (Tang et al. 2025) has the same field, but trains on ``x_t = softmax((e_k + g/β)/τ(t))``, whose
    noise is sharpened as well. That is another law: its letter leads with probability ``e^β/(e^β + k − 1)`` at every
    time (0.28 at k = 20, β = 2), while along the field it leads in the end with probability
    ``1 − (k − 1)e^{−β(e^λ − 1)}`` or more. A network trained on the one meets other states where
    the other takes it: even the exact posterior of the path does not lead to the law of the data. A test shows both.

    Args:
        tau_max, rate, beta: τ_max, λ, β. The published values are 10, 3, 2. By default τ_max is 10 for the published
            variant and 1/β for the consistent one: the odds of letters do not depend on it, yet at 10 every state
            stays near the middle of the simplex (``x_k ≈ 0.26`` at the end at k = 20), at 1/β it goes from noise of
            unit scale to the vertex, within ``(k − 1) e^{−38}`` of it.

    Raises:
        InputError: when ``variant`` is neither word.
        ValueError: when a number is not positive.

    Source: Tang et al. 2025 (arXiv:2503.17361); the law of softmax(Gumbel): Maddison et al. 2016 (arXiv:1611.00712).
    """

    def __init__(
        self,
        k: int,
        variant: Variant = "consistent",
        tau_max: float | None = None,
        rate: float = 3.0,
        beta: float = 2.0,
    ) -> None:
        super().__init__(k)
        if variant not in get_args(Variant):
            raise InputError(f"variant={variant!r} of the Gumbel-softmax path: use {' or '.join(get_args(Variant))}")
        self.published = variant == "published"
        self.tau_max = (10.0 if self.published else 1 / beta) if tau_max is None else tau_max
        self.rate = rate
        self.beta = beta
        if not min(self.tau_max, rate, beta) > 0:
            raise ValueError(f"tau_max={self.tau_max}, rate={rate}, beta={beta}: all are positive")
        self.prior: GumbelSoftmax = GumbelSoftmax(k, beta * self.tau_max)

    def point(self, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> Tensor:
        if not self.published:
            return self.advance(x1, x0, torch.zeros_like(t), t)
        sharper = (self.rate * t).exp()  # g/β τ is (g/β τ_max) τ_max/τ
        return (scale(sharper, log_floored(x0)) + scale(sharper / self.tau_max, x1)).softmax(-1)

    def velocity(self, posterior: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        mean = (posterior * x_t).sum(-1, keepdim=True)
        return scale(self.rate * (self.rate * t).exp() / self.tau_max, x_t * (posterior - mean))

    def advance(self, posterior: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: Generator = None) -> Tensor:
        """``softmax(log x_t + p (1/τ(s) − 1/τ(t)))``, exact."""
        sharper = (self.rate * t).exp() * torch.expm1(self.rate * (s - t)) / self.tau_max
        return (log_floored(x_t) + scale(sharper, posterior)).softmax(-1)

    def log_conditional(self, x_t: Tensor, t: Tensor) -> Tensor:
        sharper = (self.rate * t).exp()
        if self.published:
            return self.prior.log_densities(x_t, torch.full_like(t, self.beta), self.beta * self.tau_max / sharper)
        return self.prior.log_densities(x_t, self.beta * (sharper - 1), torch.full_like(t, self.prior.temperature))


@dataclass(frozen=True)
class GumbelSoftmax:
    """``x = softmax(g/T)`` ``(…, k)`` with independent standard Gumbel noise g, at temperature T."""

    k: int
    temperature: float

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw ``(*shape, k)``."""
        waits = -torch.log1p(-uniform(*shape, self.k, generator=generator, dtype=dtype, device=device))
        return (-log_floored(waits) / self.temperature).softmax(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` of ``x (B, *E, k)`` with respect to the flat volume, summed over E."""
        zero = x.new_zeros(len(x))
        return self.log_densities(x, zero, zero + self.temperature)[..., 0].reshape(len(x), -1).sum(1)

    def log_densities(self, x: Tensor, odds: Tensor, temperature: Tensor) -> Tensor:
        r"""Log-density ``(B, *E, k)`` of ``softmax((g + y e_k)/T)`` for every k, with ``odds`` y and T ``(B,)``.

        .. math:: (k-1)!\, T^{k-1} e^{y} \prod x_i^{-T-1} / (\textstyle\sum x_i^{-T} + (e^{y} - 1) x_k^{-T})^k

        of Lebesgue measure; the flat volume is √k times that.
        """
        log_x = log_floored(x)
        u = scale(-temperature, log_x)
        common = (self.k - 1) * temperature.log() + odds + math.lgamma(self.k) - math.log(self.k) / 2
        whole = log_x.sum(-1, keepdim=True) + u.logsumexp(-1, keepdim=True) * self.k - u.sum(-1, keepdim=True)
        share = scale(odds.expm1(), u.softmax(-1)).log1p()
        return over_sites(common, x) - whole - self.k * share
