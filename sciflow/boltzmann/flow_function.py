"""Diffusion samplers that know how much of the target flows through each place at each time."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .diffusion_sampler import DiffusionSampler
from .energy import Energy

__all__ = ["DiffusionGFlowNet"]


class DiffusionGFlowNet(DiffusionSampler):
    r"""A diffusion sampler with a learnt flow function, for `losses.SubTrajectoryBalance`.

    The flow Fₖ(x) is Z times the density at x, after k of K steps, of a process that ends at the target:

    .. math:: \log F_k(x) = (1 - k/K) \log N(x; 0, σ^2) - k/K\, E(x) + n_θ(x/σ, k),

    with a network n, zero at first, that is a number (log Z) at k = 0 and zero at k = K.

    Args:
        dim, energy, steps, scale, width, depth: as of `DiffusionSampler`; both networks have this size.

    Source: Zhang et al. 2023 (arXiv:2310.02679).
    """

    def __init__(
        self, dim: int, energy: Energy, steps: int = 32, scale: float = 1.0, width: int = 64, depth: int = 2
    ) -> None:
        super().__init__(dim, energy, steps, scale, width, depth)
        self.log_z = nn.Parameter(torch.zeros(()))
        sizes = [dim, *[width] * depth]
        self.times = nn.Embedding(steps - 1, width)
        layers: list[Any] = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.hidden, self.outward = nn.ModuleList(layers), nn.Linear(width, 1)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def log_flow(self, states: Tensor, energies: Tensor) -> Tensor:
        """log Fₖ(xₖ) of the states ``(K+1, B, D)`` of paths with their energies ``(K+1, B)``: ``(K+1, B)``."""
        k = torch.linspace(0, 1, self.steps + 1, dtype=energies.dtype, device=energies.device)[:, None]
        h, time = states[1:-1] / self.scale, self.times.weight[:, None]
        for layer in self.hidden:
            h = nn.functional.silu(layer(h) + time)
        learnt = self.outward(h).squeeze(-1)
        ends = self.log_z.expand(1, energies.shape[1]), torch.zeros_like(energies[:1])
        prior = self.prior_log_prob(states[:-1])
        between = torch.cat(((1 - k[:-1]) * prior - k[:-1] * energies[:-1], -energies[-1:]))
        return between + torch.cat((ends[0], learnt, ends[1]))
