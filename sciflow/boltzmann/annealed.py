"""What annealing gives: weighted samples, how they came about, and what they are worth."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .kernels import Kernel
from .logweights import Estimate, ess, log_mean_error
from .weights import WeightedSamples

__all__ = ["Annealed", "Stage"]


class Stage(NamedTuple):
    """One increment of β.

    Args:
        beta: where it led to.
        ess: effective fraction of the weights after it, before any resampling.
        resampled: whether the samples were resampled for it.
        acceptance: mean share of accepted proposals at this β.
        kernel: that moved the samples.
    """

    beta: float
    ess: float
    resampled: bool
    acceptance: float
    kernel: Kernel


@dataclass(frozen=True)
class Annealed:
    """Weighted samples at the end of a path from β = 0 to 1, and what happened on the way.

    Args:
        samples: N of them, with log q = −energy − log w the log-density of the whole path. After a resampling some are
            relatives: what they are worth is ``ess()``, not ``samples.ess()``.
        stages: one per increment.
        ancestors: index ``(N,)`` of each sample's ancestor among the N draws of the proposal.
    """

    samples: WeightedSamples
    stages: list[Stage]
    ancestors: Tensor

    @property
    def betas(self) -> Tensor:
        """The grid ``(K+1,)``."""
        return torch.tensor([0.0, *(stage.beta for stage in self.stages)], dtype=torch.float64)

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels of the K stages."""
        return [stage.kernel for stage in self.stages]

    @property
    def acceptance(self) -> Tensor:
        """Mean share of accepted proposals ``(K,)``."""
        return torch.tensor([stage.acceptance for stage in self.stages], dtype=torch.float64)

    def ess(self) -> float:
        """Effective sample size as a fraction of N, relatives counted as one: 1/(N Σ W²) over the families' weights."""
        weights = self.samples.weights
        return float(ess(torch.zeros_like(weights).index_add_(0, self.ancestors, weights).log()))

    def log_z(self) -> Estimate:
        """Estimate of log ∫exp(−energy) and its standard error.

        The mean weight is unbiased for Z when betas and kernels were given, not adapted. Its relative variance is
        estimated by (N Σ W² − 1)/(N − 1) over the families' weights W. A mode that was never visited is in no error.

        Source: Chan, Lai 2013, arXiv:1309.2918; Lee, Whiteley 2018, arXiv:1509.00394.
        """
        return Estimate(self.samples.log_z().value, log_mean_error(self.ess(), len(self.samples)))
