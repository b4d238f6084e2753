"""Importance weights: from samples of a flow to averages over the Boltzmann distribution."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..rng import Generator
from . import logweights
from .energy import Energy
from .logweights import Estimate
from .potentials import require_energy

__all__ = ["Profile", "WeightedSamples", "importance"]


class _Sampler(Protocol):
    def sample(self, n: int, *, generator: Generator = None) -> tuple[Tensor, Tensor]: ...


@dataclass
class Profile:
    """Free energy ``(K,)`` in kT over the bins of a collective variable, minimum at zero; NaN where nothing fell."""

    centres: Tensor
    free_energy: Tensor
    error: Tensor


@dataclass
class WeightedSamples:
    """Samples ``x (B, …)`` of a proposal with its log-density ``logq (B,)`` and log-weights ``logw (B,)``.

    Weights are w = exp(−energy − logq), not normalised; a sample outside the target has logw = −∞.
    """

    x: Tensor
    logq: Tensor
    logw: Tensor

    def __post_init__(self) -> None:
        if self.logw.isnan().any() or (self.logw == float("inf")).any():
            raise ValueError("log-weights hold NaN or +inf: check log-densities and energies")
        if not self.logw.isfinite().any():
            raise ValueError("every sample has weight zero: the proposal misses the target altogether")

    def __len__(self) -> int:
        return len(self.logw)

    @property
    def weights(self) -> Tensor:
        """Normalised weights ``(B,)`` in float64."""
        return torch.softmax(self.logw.double(), 0)

    def ess(self) -> float:
        """Kish's effective sample size (Σw)²/Σw² as a fraction of the number of samples, nothing clipped."""
        return float(logweights.ess(self.logw))

    def ess_clipped(self, q: float = 1e-4) -> float:
        """The same after the largest fraction ``q`` of the weights is set to the smallest of them (biased upwards)."""
        return float(logweights.clipped_ess(self.logw, q))

    def log_z(self) -> Estimate:
        """Log ∫exp(−energy): log of the mean weight, and its error if the samples are independent."""
        return Estimate(float(logweights.log_mean_weight(self.logw)), logweights.log_mean_error(self.ess(), len(self)))

    def mean(self, f: Tensor) -> Tensor:
        """Reweighted average of ``f (B, …)``."""
        return torch.tensordot(self.weights, f.double(), 1)

    def resample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Indices ``(n,)`` of an equally weighted ensemble, by systematic resampling."""
        return logweights.systematic(self.logw, n, generator)

    def bootstrap(self, statistic: Callable[[Tensor], Tensor], n: int = 200, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Value and standard error of ``statistic(weights)`` under resampling of the samples with replacement."""
        w = self.weights
        counts = (torch.bincount(i, minlength=len(w)) for i in logweights.resamples(len(w), n, seed, w.device))
        return statistic(w), torch.stack([statistic(w * count) for count in counts]).std(0)

    def free_energy(self, cv: Tensor, bins: Tensor, seed: int = 0) -> Profile:
        """Profile −ln p over ``bins`` (edges) of the collective variable ``cv (B,)``, with bootstrap errors."""
        bins = bins.to(self.logw.device)
        index = torch.bucketize(cv.to(bins).contiguous(), bins) - 1
        inside = (index >= 0) & (index < len(bins) - 1)

        def minus_log(w: Tensor) -> Tensor:
            mass = w.new_zeros(len(bins) - 1).index_add_(0, index[inside], w[inside])
            return -torch.log(mass / mass.sum())

        value, error = self.bootstrap(minus_log, seed=seed)
        empty = ~value.isfinite()
        value = torch.where(empty, torch.nan, value - value[~empty].min())
        return Profile((bins[1:] + bins[:-1]) / 2, value, torch.where(empty, torch.nan, error))

    def delta_f(self, state: Tensor, seed: int = 0) -> Estimate:
        """Free-energy difference −ln p(state)/p(not state) in kT with its bootstrap error; ``state (B,)`` bool."""
        value, error = self.bootstrap(lambda w: torch.log(w[~state].sum()) - torch.log(w[state].sum()), seed=seed)
        return Estimate(float(value), float(error))


def importance(
    flow: _Sampler, energy: Energy, n: int, generator: Generator = None, batch_size: int = 1000
) -> WeightedSamples:
    """Draw ``n`` samples from ``flow`` and weight them towards exp(−energy)."""
    require_energy(energy)
    xs, logqs, logws = [], [], []
    with torch.no_grad():
        for part, own in logweights.chunks(n, batch_size, generator):
            x, logq = flow.sample(part.stop - part.start, generator=own)[:2]
            xs.append(x)
            logqs.append(logq)
            logws.append(-energy.energy(x) - logq)
    return WeightedSamples(torch.cat(xs), torch.cat(logqs), torch.cat(logws))
