"""Trust regions: steps towards the target that are never longer than one's own samples can carry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import require_above
from ..energy import Energy
from .base import Loss
from .own_samples import Kept, drawn, sampled

__all__ = ["TrustRegion", "constrained_weights"]

_TEMPERATURES = 97  # tried, from 1 to _HOTTEST in equal steps of the logarithm
_HOTTEST = 1e6
_HALVINGS = 40


@dataclass
class TrustRegion(Loss):
    r"""Constrained mass transport: again and again, fit the flow to the best law near it.

    Each round draws from the flow q once and weights its samples towards the q' of least KL(q'‖p) with

    .. math:: KL(q'‖q) ≤ kl, \quad H(q) - H(q') ≤ entropy,

    which is learnt by forward KL until the next round. The multipliers η, λ ≥ 0 of the two constraints give
    :math:`q' ∝ (q^η e^{-E})^{1/(1 + η + λ)}`: the first bounds the step, the second cools no faster than allowed, so
    that no mode is lost before it is found. Both are solved for on the samples; when neither binds, q' = p. No data are
    used.

    Args:
        kl: longest step, in nats.
        entropy: most that a step may lose of it, in nats.
        rounds: in all of training.
        samples: drawn for each round.

    Source: von Klitzing et al. 2025 (arXiv:2510.18460).
    """

    kl: float = 0.5
    entropy: float = 0.5
    rounds: int = 40
    samples: int = 4096

    memory: ClassVar[tuple[str, ...]] = ("evaluations", "round", "kept")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.round = -1
        self.kept: Kept = {}
        require_above(0, "trust_region.", self, "kl", "entropy", "rounds", "samples")

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        n = len(batch["x"])
        if (now := min(int(self.progress * self.rounds), self.rounds - 1)) != self.round:
            self.round, self.kept = now, sampled(flow, self.samples, n, generator)
            energies = self.energy_of(energy, self.kept["x"])
            self.kept["logw"] = constrained_weights(energies, self.kept["logq"], self.kl, self.entropy)
        return -flow.log_prob(self.kept["x"][drawn(self.kept, n, generator)])


def constrained_weights(energy: Tensor, logq: Tensor, kl: float, entropy: float) -> Tensor:
    r"""Log-weights ``(n,)`` from samples of q to the q' of least KL(q'‖p) within ``kl`` of q and ``entropy`` below it.

    log w = a (−E − T log q) with T = 1 + λ and a = 1/(1 + η + λ) ≤ 1/T. For each T of a fine grid, a is the largest
    that the first constraint allows (KL(q'‖q) grows with a); T is the smallest for which the second then holds.
    """
    energy, logq = energy.double(), logq.double()
    inside = energy.isfinite()
    temperature = torch.logspace(0, math.log10(_HOTTEST), _TEMPERATURES, dtype=torch.float64, device=energy.device)
    slope = -torch.where(inside, energy, 0.0) - temperature[:, None] * logq

    def weights(a: Tensor) -> Tensor:
        return (a[:, None] * slope).masked_fill(~inside, -torch.inf)

    def gained(logw: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised weights and log(q'/q), ``(T, n)``."""
        normalised = logw.log_softmax(1)
        w = normalised.exp()
        return w, torch.where(w > 0, normalised + math.log(w.shape[1]), 0.0)

    low, high = torch.zeros_like(temperature), 1 / temperature
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        w, gain = gained(weights(middle))
        within = (w * gain).sum(1) <= kl
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    found = weights(low)
    w, gain = gained(found)
    lost = (w * (logq + gain)).sum(1) - logq.mean()
    allowed = (lost <= entropy).double()
    return found[torch.where(allowed.any(), allowed.argmax(), _TEMPERATURES - 1)]
