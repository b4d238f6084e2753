"""Von Mises–Fisher densities: the exponential family of one direction, on spheres and on angles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import gammaln, ive, logsumexp
from torch import Tensor

from ..rng import Generator, normal, uniform
from .torus import wrap

__all__ = ["VonMises", "VonMisesFisher"]

# Of one sample: each is taken with a probability above 0.65, so that none is once in 10^29 samples.
PROPOSALS = 64


@dataclass(frozen=True, eq=False)
class VonMisesFisher:
    """Density ``∝ exp(κ⟨mean, x⟩)`` on S^d, from uniform (κ = 0) to a normal of variance 1/κ (large κ).

    ``mean (d+1,)`` is any vector along the mean direction. The normalisation
    ``κ^ν / ((2π)^{ν+1} I_ν(κ))``, ν = (d−1)/2, and the cosine's distance from one are computed without overflow or
    cancellation for any κ, from 1e-300 to 1e12 and beyond.

    Raises:
        ValueError: when κ is negative or not finite, or the mean is not a vector of d+1 numbers.

    Source: Mardia, Jupp 2000; sampling Ulrich 1984, Wood 1994.
    """

    d: int
    mean: Tensor
    kappa: float

    def __post_init__(self) -> None:
        if not 0 <= self.kappa < math.inf:
            raise ValueError(f"kappa={self.kappa}: give a number, zero or more")
        if self.mean.shape != (self.d + 1,) or not self.mean.norm() > 0:
            raise ValueError(f"a mean of shape {tuple(self.mean.shape)}: give {self.d + 1} numbers that are not all 0")

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw ``(*shape, d+1)``."""
        ask: dict[str, Any] = {"generator": generator, "dtype": dtype, "device": device}
        across = normal(*shape, self.d + 1, **ask)
        kappa = across.new_tensor(self.kappa)
        if self.d == 2:
            short = _short_of_one_on_s2(uniform(*shape, **ask), kappa)
        else:
            short = _short_of_one(self.d, kappa, shape, ask).to(across)
        mean = self._mean(across)
        across = across - (across * mean).sum(-1, keepdim=True) * mean
        across = across / across.norm(dim=-1, keepdim=True)
        short = short[..., None]
        x = (1 - short) * mean + (short * (2 - short)).sqrt() * across
        return x / x.norm(dim=-1, keepdim=True)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` of ``x (B, *E, d+1)``."""
        off = x - self._mean(x)
        log_density = -0.5 * self.kappa * (off * off).sum(-1) - _log_integral(self.d, self.kappa)
        return log_density.flatten(1).sum(1) if log_density.ndim > 1 else log_density

    def _mean(self, like: Tensor) -> Tensor:
        return (self.mean / self.mean.norm()).to(like)


@dataclass(frozen=True, eq=False)
class VonMises:
    """Independent angles, each of density ``exp(κ cos(x − mean)) / 2π I_0(κ)``, on ``FlatTorus(d)``.

    ``mean (d,)`` [rad]; ``kappa``: one number, or one an angle.

    Raises:
        ValueError: when a κ is negative or not finite, or their number is not that of the angles.
    """

    mean: Tensor
    kappa: float | Sequence[float]

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or len(self._kappas()) != len(self.mean):
            raise ValueError(f"a mean of shape {tuple(self.mean.shape)} and kappa={self.kappa}: give one an angle")
        if not all(0 <= kappa < math.inf for kappa in self._kappas()):
            raise ValueError(f"kappa={self.kappa}: give numbers, zero or more")

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw ``(*shape, d)`` in (−π, π]."""
        ask: dict[str, Any] = {"generator": generator, "dtype": dtype, "device": device}
        side = uniform(*shape, len(self.mean), **ask) - 0.5
        short = _short_of_one(1, side.new_tensor(self._kappas()), (*shape, len(self.mean)), ask)
        turn = (2 * (short / 2).sqrt().asin()).to(side)
        return wrap(self.mean.to(side) + torch.where(side < 0, -turn, turn))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` of ``x (B, *E, d)``."""
        kappas = self._kappas()
        half = ((x - self.mean.to(x)) / 2).sin()
        log_density = -2 * x.new_tensor(kappas) * half**2 - x.new_tensor([_log_integral(1, k) for k in kappas])
        return log_density.flatten(1).sum(1)

    def _kappas(self) -> list[float]:
        return [float(self.kappa)] * len(self.mean) if isinstance(self.kappa, (int, float)) else list(self.kappa)


def _short_of_one_on_s2(u: Tensor, kappa: Tensor) -> Tensor:
    """``1 − cos θ`` by inversion: the cosine has density ``∝ exp(κ cos θ)`` on S² (``u`` uniform)."""
    flat = kappa == 0
    safe = torch.where(flat, 1.0, kappa)
    return torch.where(flat, 2 * u, (-torch.log1p(u * torch.expm1(-2 * safe)) / safe).clamp(max=2))


def _short_of_one(d: int, kappa: Tensor, shape: tuple[int, ...], ask: dict[str, Any]) -> Tensor:
    """``1 − cos θ (*shape)`` in float64, of density ``∝ exp(κ cos θ) (1 − cos²θ)^{d/2 − 1}``, by rejection.

    Proposals are ``1 − cos θ = 2bz / (1 − z + bz)``, z ~ Beta(d/2, d/2), ``b = d / (2κ + √(4κ² + d²))``; z is drawn
    as ``(1 + y)/2`` of a coordinate y of a uniform point on S^d. A sample has a block of ``PROPOSALS``, of which it
    takes the first that passes, so that what it draws does not depend on the others. ``kappa`` broadcasts to ``shape``.
    """
    ask = {**ask, "dtype": torch.float64}
    points = normal(*shape, PROPOSALS, d + 1, **ask)
    level = uniform(*shape, PROPOSALS, **ask)
    y = points[..., 0] / points.norm(dim=-1)
    kappa = kappa[..., None].double()
    b = d / (2 * kappa + (4 * kappa**2 + d**2).sqrt())
    short = 2 * b * (1 + y) / (1 - y + b * (1 + y))
    mode = 2 * b / (1 + b)  # 1 − cos θ where the ratio of the densities is greatest
    ratio = kappa * (mode - short) + d * ((mode + (1 - mode) * short) / (mode * (2 - mode))).log()
    first = (ratio >= level.log()).to(torch.uint8).argmax(-1, keepdim=True)
    return short.gather(-1, first).clamp(max=2).squeeze(-1)


def _scaled_bessel(nu: float, kappa: float) -> float:
    """``e^{−κ} I_ν(κ)``; scipy's underflows for small κ and gives up on large ones, which have Hankel's series."""
    if kappa < 1e6 or kappa < 100 * nu**2:
        return float(ive(nu, kappa))
    term = total = 1.0
    for k in range(1, 10):
        term *= ((2 * k - 1) ** 2 - 4 * nu**2) / (8 * k * kappa)
        total += term
    return total / math.sqrt(2 * math.pi * kappa)


def _log_integral(d: int, kappa: float) -> float:
    """``log ∫ exp(κ(⟨mean, x⟩ − 1)) dx`` over S^d: ``(ν+1) log 2π − ν log κ + log(e^{−κ} I_ν(κ))``, ν = (d−1)/2."""
    nu = (d - 1) / 2
    scaled = _scaled_bessel(nu, kappa)
    if scaled > 1e-200:
        return (nu + 1) * math.log(2 * math.pi) + math.log(scaled) - (nu * math.log(kappa) if nu else 0.0)
    # the power series, all of whose terms are positive: beyond k = κ they fall at least by four a term
    k = np.arange(int(kappa) + 60)
    logs = 2 * k * math.log(kappa / 2) if kappa > 0 else np.where(k == 0, 0.0, -np.inf)
    series = float(logsumexp(logs - gammaln(k + 1) - gammaln(k + nu + 1)))
    return (nu + 1) * math.log(2 * math.pi) - nu * math.log(2) - kappa + series
