"""Samples for other temperatures: from a hotter or colder base, and from weights."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..flows import MixedBase, NormalizingFlow
from ..manifolds import Normal
from ..rng import Generator
from .energy import Energy
from .weights import WeightedSamples

__all__ = ["HeatedBase", "at_temperature", "heated", "reweighted"]


class HeatedBase(nn.Module):
    """A base whose real dimensions have ``ratio`` times the variance; its uniform angles stay. A prior."""

    def __init__(self, base: MixedBase, ratio: float) -> None:
        super().__init__()
        self.base, self.ratio = base, ratio

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draws (\\*shape, D); with a sequence of generators, one per sample."""
        return self._scaled(self.base.sample(*shape, generator=generator, dtype=dtype, device=device), self.ratio)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density (B,) of x (B, \\*E, D)."""
        numbers = x[:1].numel() - self.base.circular.expand(x[:1].shape).sum()
        return self.base.log_prob(self._scaled(x, 1 / self.ratio)) - numbers * math.log(self.ratio) / 2

    def _scaled(self, x: Tensor, ratio: float) -> Tensor:
        return torch.where(self.base.circular.to(x.device), x, math.sqrt(ratio) * x)


def heated(flow: NormalizingFlow, ratio: float) -> NormalizingFlow:
    """The flow with a base at ``ratio`` = T'/T times the temperature, sharing its transform; its density is exact.

    q_T'(x) = p(f(x); variance·T'/T) |det ∂f/∂x|. If f has constant volume and q_T is the Boltzmann density at T, then
    q_T' is that at T'; otherwise it is a proposal for ``importance`` and ``smc`` towards ``energy.at(T')``. Angles with
    a uniform base do not get hotter.

    Raises:
        InputError: for a ratio that is not above 0, or a base without a variance.

    Source: Dibak, Klein, Krämer, Noé 2022, arXiv:2108.01590.
    """
    if not ratio > 0:
        raise InputError(f"temperature ratio {ratio}: give T'/T above 0")
    if isinstance(flow.base, Normal):
        base: Any = replace(flow.base, scale=flow.base.scale * math.sqrt(ratio))
    elif isinstance(flow.base, MixedBase):
        base = HeatedBase(flow.base, ratio)
    else:
        raise InputError(f"a {type(flow.base).__name__} has no variance to scale: train with a normal base")
    return NormalizingFlow(base, flow.transform)


def at_temperature(samples: WeightedSamples, energy: Energy, temperature: float) -> WeightedSamples:
    """The same samples with their weights for ``energy`` at another temperature, whose energies are computed anew."""
    with torch.no_grad():
        return WeightedSamples(samples.x, samples.logq, -energy.at(temperature).energy(samples.x) - samples.logq)


def reweighted(logw: Tensor, energy: Tensor, ratios: Tensor) -> Tensor:
    """Log-weights ``(K, B)`` for K temperatures from those for one, without any further energy.

    log w' = log w + E (1 − T/T') with E in kT at T: what ``ess`` and ``log_mean_weight`` say of each row is how far the
    samples carry. The potential must be the same at all temperatures.

    Args:
        logw: log-weights ``(B,)`` for the temperature T.
        energy: energies ``(B,)`` in kT at T.
        ratios: T'/T ``(K,)``.
    """
    ratios = ratios.to(logw.device, torch.float64)[:, None]
    shifted = logw.double() + energy.double() * (1 - 1 / ratios)
    return torch.where(logw.isfinite(), shifted, -torch.inf)
