"""Diffusion samplers: a stochastic differential equation from a Gaussian to the target, its drift learnt by energy."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..manifolds import Euclidean
from ..nets import MLPField
from ..rng import Generator, normal

__all__ = ["DiffusionSampler", "Trajectory"]

_LAST = 0.99  # of a quarter turn: the backward process forgets all but 1.6 % of the amplitude


class Trajectory(NamedTuple):
    """States ``(K+1, B, D)`` from prior to sample, and the log-density of the path, ``(B,)``."""

    states: Tensor
    logq: Tensor


class DiffusionSampler(nn.Module):
    r"""Denoising diffusion sampler over vectors (D,), with exact path weights.

    In K steps of share aₖ of the variance, from x₀ ~ N(0, σ²),

    .. math::
        P_F(x_{k+1}|x_k) &= N(\sqrt{1 - a_k}\, x_k + σ a_k f_θ(x_k/σ, t_k),\; σ^2 a_k),\\
        P_B(x_k|x_{k+1}) &= N(\sqrt{1 - a_k}\, x_{k+1},\; σ^2 a_k),

    the second turning any law into the prior. With f = 0, as it starts, each is the other's reversal and the samples
    are the prior's. The log-density of a path,

    .. math:: \log q = \log N(x_0; 0, σ^2) + \sum_k \log P_F(x_{k+1}|x_k) - \log P_B(x_k|x_{k+1}),

    makes exp(−E(x_K) − log q) an importance weight, whose mean over paths is Z whatever the drift. Shares follow a
    cosine: large near the prior, small near the target.

    Args:
        dim: D.
        steps: K.
        scale: σ; the prior should cover the target.
        width, depth: of the network.

    Source: Vargas, Grathwohl & Doucet 2023 (arXiv:2302.13834); path weights as in Zhang & Chen 2022 (arXiv:2111.15141).
    """

    share: Tensor

    def __init__(self, dim: int, steps: int = 32, scale: float = 1.0, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.dim, self.steps, self.scale = dim, steps, scale
        self.field = MLPField(Euclidean(dim), width=width, depth=depth)
        nn.init.zeros_(self.field.outward.weight)
        nn.init.zeros_(self.field.outward.bias)
        signal = (_LAST * math.pi / 2 * torch.linspace(1, 0, steps + 1, dtype=torch.float64)).cos().square()
        self.register_buffer("share", (1 - signal[:-1] / signal[1:]).to(torch.get_default_dtype()))

    def sample(self, n: int, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """n samples (n, D) and the log-densities of their paths (n,)."""
        states, logq = self.trajectory(n, generator)
        return states[-1], logq

    def trajectory(self, n: int, generator: Generator = None, spread: float = 1.0) -> Trajectory:
        """n paths; with a sequence of n generators path i depends on generator i alone.

        ``spread`` multiplies the noise (not the densities): paths that explore.
        """
        like = self.share
        noise = spread * normal(n, self.steps + 1, self.dim, generator=generator, dtype=like.dtype, device=like.device)
        states = [self.scale * noise[:, 0]]
        drifts = []
        for k in range(self.steps):
            drifts.append(self._drift(states[k], like.new_full((n,), k / self.steps)))
            mean = (1 - self.share[k]).sqrt() * states[k] + self.share[k] * drifts[k]
            states.append(mean + self.scale * self.share[k].sqrt() * noise[:, k + 1])
        path = torch.stack(states)
        return Trajectory(path, self._log_density(path, torch.stack(drifts)))

    def path_log_density(self, states: Tensor) -> Tensor:
        """log q of paths ``(K+1, B, D)``, wherever they come from; all steps in one pass through the network."""
        steps, n = len(states) - 1, states.shape[1]
        t = (torch.arange(steps, device=states.device) / steps).to(states.dtype).repeat_interleave(n)
        drift = self._drift(states[:-1].flatten(0, 1), t)
        return self._log_density(states, drift.unflatten(0, (steps, n)))

    def _drift(self, x: Tensor, t: Tensor) -> Tensor:
        velocity = self.field.velocity(x / self.scale, t)
        assert isinstance(velocity, Tensor)
        return self.scale * velocity

    def _log_density(self, states: Tensor, drift: Tensor) -> Tensor:
        before, after, share = states[:-1], states[1:], self.share[:, None, None]
        keep = (1 - share).sqrt()
        forward = after - keep * before - share * drift
        ratio = ((before - keep * after).square() - forward.square()) / (2 * self.scale**2 * share)
        start = -0.5 * (states[0] / self.scale).square() - math.log(self.scale * math.sqrt(2 * math.pi))
        return start.sum(-1) + ratio.sum((0, -1))
