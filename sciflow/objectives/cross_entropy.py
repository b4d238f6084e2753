"""Regress the letter at the end of a path."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..paths import Pair, Path
from ..paths.categorical import state_at
from ..rng import Generator
from .times import EQUAL, stratified

__all__ = ["CrossEntropy"]


@dataclass(frozen=True)
class CrossEntropy:
    r"""Variational flow matching of letters: the cross-entropy of the posterior that a field predicts.

    .. math:: \ell_b = - w_b \sum_L \log p_\theta(x_1 \mid x_t), \qquad t = \text{time}(u),
              \quad u \sim U[0, 1)

    Its minimiser is the posterior of each letter given the state, from which every path has its velocity, or its
    rates, whatever the law of the times. Where the conditions hold ``mask (B, L)``, L is the real sites.

    Args:
        time: as in :class:`FlowMatching`; by default equal times. On masks that are uncovered evenly a density of
            times ∝ 1/(1 − t) makes the loss proportional to the bound on the negative log-likelihood; the last few
            masks then count as much as the first ones, and have more noise.

    ``field.log_posterior(x, t, **cond)`` gives the log-probabilities ``(B, L, K)``.

    Source: Eijkelboom et al. 2024 (CatFlow), arXiv:2406.04843; the bound: Shi et al. 2024, arXiv:2406.04329.
    """

    time: Callable[[Tensor], Tensor] = EQUAL

    def __call__(self, field: Any, path: Path, pair: Pair, generator: Generator = None) -> Tensor:
        """Losses ``(B,)`` in nats, weighted sample by sample and not reduced; ``pair.x1`` are tokens ``(B, L)``."""
        u = stratified(pair.weight, generator)
        t = self.time(u)
        with torch.autocast(u.device.type, enabled=False):  # mixed precision is for networks, not for paths
            x_t = state_at(path, pair.x0, pair.x1, t, generator)
        logp = field.log_posterior(x_t, t, **pair.cond).gather(-1, pair.x1[..., None])[..., 0]
        if "mask" in pair.cond:
            logp = logp.where(pair.cond["mask"], 0)
        return -pair.weight * logp.sum(-1)
