"""Feynman–Kac steering: particles that a reward weighs on their way, whatever the path and its step."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..rng import Generator, categorical, repeated, uniform
from .posterior import Denoise, PosteriorHook, PosteriorStep, sample_posterior
from .rollout import Rollout

__all__ = ["feynman_kac"]

#: ``reward(tokens (rows, L)) -> (rows,)``: finite, or −∞ for what must not be.
Reward = Callable[[Tensor], Tensor]


def feynman_kac(
    denoise: Denoise,
    x0: Tensor,
    grid: Tensor,
    step: PosteriorStep,
    reward: Reward,
    draws: int = 4,
    hooks: Sequence[PosteriorHook] = (),
    cond: Mapping[str, Tensor] | None = None,
    generator: Generator = None,
) -> Rollout:
    r"""Samples of ``p(x) e^{r(x)} / Z``, where those of the same step without a reward are of p.

    P particles a sample carry weights ``e^{V(x_t)}`` with ``V = log mean_m e^{r(\hat x_m)}`` over draws of the clean
    sequence from the posterior. Where their effective number falls below P/2 they are drawn anew by their weights
    (systematic), each then with the mean weight. Along a particle's ancestry the factors ``e^{V(x_s) − V(x_t)}``
    telescope to ``e^{r(x_1)}``, whatever the V between are worth: they decide the variance alone.

    One particle is drawn at the end. With ``logw``, the logarithm of their mean weight, it is exact at any P:
    ``E[e^{logw} φ(x)] = Σ p e^r φ`` and ``E[e^{logw}] = Z``. Without it samples are biased by O(1/P). Steps that draw
    no random numbers cannot tell two copies of a particle apart again, and only choose among P sources.

    Args:
        denoise: as for :func:`sample_posterior`; the network is called once a step for P·B rows, steering adds none.
        x0: sources ``(B, P, L)`` or ``(B, P, L, K)``.
        reward: r of tokens ``(rows, L)``; at the end, of the state itself, or of its most probable letters.
        draws: M; none of the network.
        hooks, cond: as for :func:`sample_posterior`; conditions have B rows; hooks see P·B, and so do their
            generators, ``repeated(generator, P)``.
        generator: with a sequence, sample i and its particles are drawn from generator i alone.

    Returns:
        x: one state a sample, ``(B, L)`` or ``(B, L, K)``; ``logw (B,)``; ``nfe``: calls of ``denoise``.

    Source: Singhal et al. 2025, arXiv:2501.06848; unbiasedness: Del Moral 2004.
    """
    b, p = x0.shape[:2]
    cond = {name: value.repeat_interleave(p, 0) for name, value in (cond or {}).items()}
    particles, own = _Particles(step, reward, draws, b, generator), repeated(generator, p)
    rollout = sample_posterior(denoise, x0.flatten(0, 1), grid, particles, hooks, cond, own)
    x = rollout.x
    assert isinstance(x, Tensor)
    letters = x.argmax(-1) if x.is_floating_point() else x
    logw = particles.weighed(reward(letters))
    chosen = categorical(_shares(logw), generator) + p * torch.arange(b, device=x0.device)
    return Rollout(x[chosen], None, logw.logsumexp(1) - math.log(p), rollout.nfe)


class _Particles:
    """A step of particles ``(B·P, …)``, whose log-weights are ``base + V``: of V counts the present value alone."""

    def __init__(self, step: PosteriorStep, reward: Reward, draws: int, samples: int, generator: Generator) -> None:
        self.step, self.reward, self.draws, self.samples, self.generator = step, reward, draws, samples, generator
        self.base: Tensor | float = 0.0

    def weighed(self, value: Tensor) -> Tensor:
        """Log-weights ``(B, P)``."""
        return self.base + value.double().view(self.samples, -1)

    def __call__(self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, generator: Generator) -> Tensor:
        posterior = denoise(x, t)
        rewards = [self.reward(categorical(posterior, generator)) for _ in range(self.draws)]
        logw = self.weighed(torch.stack(rewards).logsumexp(0) - math.log(self.draws))
        value, p = logw - self.base, logw.shape[1]
        few = 1 / _shares(logw).square().sum(1, keepdim=True) < p / 2
        origin = torch.where(few, _drawn(logw, self.generator), torch.arange(p, device=x.device))
        mean = logw.logsumexp(1, keepdim=True) - math.log(p)
        self.base = torch.where(few, mean - value.gather(1, origin), self.base)
        rows = (origin + p * torch.arange(self.samples, device=x.device)[:, None]).flatten()
        x, posterior = x[rows], posterior[rows]

        def known(z: Tensor, at: Tensor) -> Tensor:
            return posterior if z is x and at is t else denoise(z, at)

        return self.step(known, x, t, s, generator)


def _drawn(logw: Tensor, generator: Generator) -> Tensor:
    """Particles ``(B, P)`` drawn by their weights, each as often as it weighs in P, rounded up or down."""
    p, total = logw.shape[1], _shares(logw).cumsum(1)
    u = uniform(len(logw), 1, generator=generator, dtype=logw.dtype, device=logw.device)
    marks = (torch.arange(p, device=logw.device) + u) / p
    return torch.searchsorted(total / total[:, -1:], marks, right=True).clamp_max(p - 1)


def _shares(logw: Tensor) -> Tensor:
    """Weights normalised over the particles of each sample; equal ones where none has any."""
    return torch.where(logw.isneginf().all(1, keepdim=True), 0.0, logw).softmax(1)
