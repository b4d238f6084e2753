"""Trigonometry, circular and hyperbolic, of the squared length: values and gradients are exact at zero."""

import math

import torch
from torch import Tensor

__all__ = ["arc_over_sine", "arsinhc", "cos_sinc", "cosh_sinhc", "log_sinhc", "rounds"]

_COS = [(-1) ** k / math.factorial(2 * k) for k in range(6)]
_SINC = [(-1) ** k / math.factorial(2 * k + 1) for k in range(6)]
_ATAN = [(-1) ** k / (2 * k + 1) for k in range(6)]
_COSH = [abs(c) for c in _COS]
_SINHC = [abs(c) for c in _SINC]
_ARSINHC = [(-1) ** k * math.comb(2 * k, k) / 4**k / (2 * k + 1) for k in range(8)]
_LOG_SINHC = [0, 1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775]


def cos_sinc(square: Tensor) -> tuple[Tensor, Tensor]:
    """``cos θ`` and ``sin θ / θ`` of ``square = θ²``; Taylor series near zero, where the quotient cancels."""
    small = square < 1e-2
    theta = torch.where(small, 1.0, square).sqrt()
    near = torch.where(small, square, 0.0)
    cos = torch.where(small, _horner(_COS, near), theta.cos())
    sinc = torch.where(small, _horner(_SINC, near), theta.sin() / theta)
    return cos, sinc


def arc_over_sine(square: Tensor, cosine: Tensor) -> Tensor:
    """``θ / sin θ`` of ``square = sin²θ`` and ``cosine = cos θ``, with θ = atan2(sin θ, cos θ) in [0, π).

    atan2 keeps full precision near θ = π/2, where arcsine fails, and near 0 and π, where arccosine fails. At θ = π
    the quotient has no limit: the caller masks ``square = 0, cosine < 0``.
    """
    small = (square < 1e-3) & (cosine > 0)
    sine = torch.where(small, 1.0, square).sqrt()
    divisor = torch.where(small, cosine, 1.0)
    tangent2 = torch.where(small, square, 0.0) / divisor**2
    return torch.where(small, _horner(_ATAN, tangent2) / divisor, torch.atan2(sine, cosine) / sine)


def cosh_sinhc(square: Tensor) -> tuple[Tensor, Tensor]:
    """``cosh r`` and ``sinh r / r`` of ``square = r²``.

    Of exponentials: torch's own two round differently at different places of a tensor, and a sample would depend on
    its batch.
    """
    small = square < 1e-2
    r = torch.where(small, 1.0, square).sqrt()
    near = torch.where(small, square, 0.0)
    cosh = torch.where(small, _horner(_COSH, near), (r.exp() + (-r).exp()) / 2)
    sinhc = torch.where(small, _horner(_SINHC, near), (r.expm1() - (-r).expm1()) / (2 * r))
    return cosh, sinhc


def arsinhc(square: Tensor) -> Tensor:
    """``arsinh s / s`` of ``square = s²``."""
    small = square < 1e-2
    s = torch.where(small, 1.0, square).sqrt()
    return torch.where(small, _horner(_ARSINHC, torch.where(small, square, 0.0)), s.asinh() / s)


def log_sinhc(square: Tensor) -> Tensor:
    """``log(sinh r / r)`` of ``square = r²``, without overflow."""
    small = square < 1e-2
    r = torch.where(small, 1.0, square).sqrt()
    far = r + torch.log(-torch.expm1(-2 * r) / (2 * r))
    return torch.where(small, _horner(_LOG_SINHC, torch.where(small, square, 0.0)), far)


def rounds(square: Tensor, period: float, reach: float) -> tuple[Tensor, Tensor]:
    """All ways to one end along a closed geodesic: ``ℓ²`` and ``log |sin r / ℓ|`` of ``ℓ = r + k·period``.

    Of ``square = r²``; both have an axis of k before the others, with all ``|ℓ|`` up to ``reach``. At r = 0 the rounds
    ``k ≠ 0`` do not stretch at all: they get a huge number instead, which leaves them out of a sum of densities
    (and a finite one, for a circle multiplies it by zero).
    """
    apart = square > 0
    length = torch.where(apart, square, 1.0).sqrt()
    most = math.ceil((reach + period / 2) / period)
    turns = torch.arange(-most, most + 1, dtype=square.dtype, device=square.device).reshape(-1, *(1,) * square.ndim)
    ways = torch.where(apart, length, 0.0) + period * turns
    direct = cos_sinc(square)[1].abs().clamp_min(torch.finfo(square.dtype).tiny).log()
    around = direct + length.log() - torch.where(turns == 0, 1.0, ways).abs().log()
    return ways**2, torch.where(turns == 0, direct, torch.where(apart, around, 1e30))


def _horner(coefficients: list[float], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = value * x + c
    return value
