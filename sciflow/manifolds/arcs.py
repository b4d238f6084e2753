"""Trigonometry of arcs as smooth functions of the squared length, so that values and gradients are exact at zero."""

import math

import torch
from torch import Tensor

__all__ = ["arc_over_sine", "cos_sinc"]

_COS = [(-1) ** k / math.factorial(2 * k) for k in range(6)]
_SINC = [(-1) ** k / math.factorial(2 * k + 1) for k in range(6)]
_ATAN = [(-1) ** k / (2 * k + 1) for k in range(6)]


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


def _horner(coefficients: list[float], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = value * x + c
    return value
