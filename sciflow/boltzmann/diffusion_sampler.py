"""Diffusion samplers: a stochastic differential equation from a Gaussian to the target, its drift learnt by energy."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..manifolds import Euclidean
from ..nets import MLPField
from ..rng import Generator, normal
from .energy import Energy

__all__ = ["DiffusionSampler", "Trajectory"]

_LAST = 0.99  # of a quarter turn: the backward process forgets all but 1.6 % of the amplitude
_STRONGEST = 10.0  # pull of a force, in units of 1/σ


class Trajectory(NamedTuple):
    """States ``(K+1, B, D)`` from prior to sample, log-density ``(B,)``.

    Of all states but the last: energies ``(K, B)`` and forces ``(K, B, D)``.
    """

    states: Tensor
    energies: Tensor
    forces: Tensor
    logq: Tensor


class DiffusionSampler(nn.Module):
    r"""Denoising diffusion sampler over vectors (D,), with exact path weights.

    In K steps of share aₖ of the variance, from x₀ ~ N(0, σ²),

    .. math::
        P_F(x_{k+1}|x_k) &= N(\sqrt{1 - a_k}\, x_k + σ a_k f_θ(x_k, t_k),\; σ^2 a_k),\\
        P_B(x_k|x_{k+1}) &= N(\sqrt{1 - a_k}\, x_{k+1},\; σ^2 a_k),

    the second turning any law into the prior. With f = 0 each is the other's reversal and the samples are the prior's.
    The log-density of a path,

    .. math:: \log q = \log N(x_0; 0, σ^2) + \sum_k \log P_F(x_{k+1}|x_k) - \log P_B(x_k|x_{k+1}),

    makes exp(−E(x_K) − log q) an importance weight, whose mean over paths is Z whatever the drift. Shares follow a
    cosine: large near the prior, small near the target. The drift is f = v(x/σ, t) + g(t) (σF(x) + x/σ): a network v,
    zero at first, and a learnt share g, at first t, of what the force F at x says, cut at ±10.

    Args:
        dim: D.
        energy: of the target, for its force; a path asks for K.
        steps: K.
        scale: σ; the prior should cover the target.
        width, depth: of the network.

    Source: Vargas, Grathwohl & Doucet 2023 (arXiv:2302.13834); path weights as in Zhang & Chen 2022 (arXiv:2111.15141).
    """

    share: Tensor

    def __init__(
        self, dim: int, energy: Energy, steps: int = 32, scale: float = 1.0, width: int = 64, depth: int = 2
    ) -> None:
        super().__init__()
        self.dim, self.energy, self.steps, self.scale = dim, energy, steps, scale
        self.field = MLPField(Euclidean(dim), width=width, depth=depth)
        nn.init.zeros_(self.field.outward.weight)
        nn.init.zeros_(self.field.outward.bias)
        self.gate = nn.Parameter(torch.linspace(0, 1, steps))
        signal = (_LAST * math.pi / 2 * torch.linspace(1, 0, steps + 1, dtype=torch.float64)).cos().square()
        self.register_buffer("share", (1 - signal[:-1] / signal[1:]).to(torch.get_default_dtype()))

    def sample(self, n: int, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """n samples (n, D) and the log-densities of their paths (n,)."""
        path = self.trajectory(n, generator)
        return path.states[-1], path.logq

    def trajectory(self, n: int, generator: Generator = None, spread: float = 1.0) -> Trajectory:
        """n paths; with a sequence of n generators path i depends on generator i alone.

        ``spread`` multiplies the noise (not the densities): paths that explore.
        """
        like = self.share
        noise = normal(n, self.steps + 1, self.dim, generator=generator, dtype=like.dtype, device=like.device)
        states, known = [self.scale * spread * noise[:, 0]], []
        for k in range(self.steps):
            known.append(self.energy.energy_and_force(states[k]))
            drift = self._drift(states[k][None], known[k][1][None], slice(k, k + 1))[0]
            mean = (1 - self.share[k]).sqrt() * states[k] + self.share[k] * drift
            states.append(mean + self.scale * spread * self.share[k].sqrt() * noise[:, k + 1])
        path, forces = torch.stack(states), torch.stack([force for _, force in known])
        energies = torch.stack([energy for energy, _ in known])
        return Trajectory(path, energies, forces, self.path_log_density(path, forces))

    def path_log_density(self, states: Tensor, forces: Tensor) -> Tensor:
        """log q of paths, wherever they come from; all steps in one pass through the network."""
        return self.prior_log_prob(states[0]) + self.log_ratios(states, forces).sum(0)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        """log N(x; 0, σ²), which is also the law at every time of a process that begins at the prior, (…)."""
        return (-0.5 * (x / self.scale).square() - math.log(self.scale * math.sqrt(2 * math.pi))).sum(-1)

    def log_ratios(self, states: Tensor, forces: Tensor) -> Tensor:
        """log P_F(x_{k+1}|x_k) − log P_B(x_k|x_{k+1}) of each step, (K, B)."""
        before, after, share = states[:-1], states[1:], self.share[:, None, None]
        keep = (1 - share).sqrt()
        forward = after - keep * before - share * self._drift(before, forces, slice(None))
        return (((before - keep * after).square() - forward.square()) / (2 * self.scale**2 * share)).sum(-1)

    def _drift(self, x: Tensor, force: Tensor, steps: slice) -> Tensor:
        """σ f at the states ``(k, B, D)`` of some of the steps."""
        unit = x / self.scale
        t = torch.arange(self.steps, device=x.device)[steps, None].expand(x.shape[:2]).to(x.dtype) / self.steps
        velocity = self.field.velocity(unit.flatten(0, 1), t.flatten())
        assert isinstance(velocity, Tensor)
        pull = (self.scale * force + unit).clamp(-_STRONGEST, _STRONGEST)
        return self.scale * (velocity.view_as(x) + self.gate[steps, None, None] * pull)
