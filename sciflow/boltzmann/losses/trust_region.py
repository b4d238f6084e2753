"""Trust regions: steps towards the target that are never longer than one's own samples can carry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ...errors import require_above
from ..energy import Energy
from .base import Loss
from .own_samples import Kept, drawn, sampled

__all__ = ["TrustRegion", "constrained_weights"]

_HOTTEST = 14.0  # logarithm of the highest temperature tried
_HALVINGS = 20


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
            self.round, self.kept = now, sampled(self, flow, energy, self.samples, n, generator)
            kept = self.kept
            kept["logw"] = constrained_weights(kept["energy"], kept["logq"], self.kl, self.entropy)
        return -flow.log_prob(self.kept["x"][drawn(self.kept, n, generator)])


def constrained_weights(energy: Tensor, logq: Tensor, kl: float, entropy: float) -> Tensor:
    r"""Log-weights ``(n,)`` from samples of q to the q' of least KL(q'‖p) within ``kl`` of q and ``entropy`` below it.

    log w = a (−E − T log q) with T = 1 + λ and a = 1/(1 + η + λ) ≤ 1/T. For a given T the first constraint allows a up
    to a largest value, and the entropy that is lost by then falls with T: two nested bisections. Samples whose energy
    is not finite, or whose density is not, get no weight.
    """
    inside = energy.isfinite() & logq.isfinite()
    bounded, logq = (torch.where(inside, values.double(), 0.0) for values in (energy, logq))
    before = float(logq[inside].mean())

    def step(a: float, temperature: float) -> _Step:
        logw = (a * (-bounded - temperature * logq)).masked_fill(~inside, -torch.inf)
        normalised = logw.log_softmax(0)
        w, gain = normalised.exp(), torch.where(inside, normalised + math.log(len(logw)), 0.0)  # log q'/q
        return _Step(logw, float((w * gain).sum()), float((w * (logq + gain)).sum()) - before)

    def longest(temperature: float) -> _Step:
        """Along the path to the target at a temperature."""
        whole = step(1 / temperature, temperature)
        if whole.kl <= kl:
            return whole
        low, high = 0.0, 1 / temperature
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if step(middle, temperature).kl <= kl else (low, middle)
        return step(low, temperature)

    found = longest(1.0)
    if found.lost <= entropy:
        return found.logw
    low, high = 0.0, _HOTTEST  # logarithms of T
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if longest(math.exp(middle)).lost <= entropy else (middle, high)
    return longest(math.exp(high)).logw


class _Step(NamedTuple):
    """From q to q': log-weights, KL(q'‖q), and the entropy lost."""

    logw: Tensor
    kl: float
    lost: float
