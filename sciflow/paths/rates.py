"""Paths of tokens: letters that replace noise at their own times, and the rates of jumps that follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from ..errors import InputError
from ..manifolds import FlatSimplex, scale
from ..rng import Generator, pick, uniform
from .categorical import floored_ahead, over_sites
from .path import PathSample
from .schedules import Linear, Schedule

__all__ = ["MaskingPath", "RatesPath", "SourceLaw", "UniformPath"]


@dataclass(frozen=True, eq=False)
class SourceLaw:
    """Independent tokens, of ``probabilities (S,)``, or ``(L, S)`` place by place."""

    probabilities: Tensor

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw tokens ``(*shape)``; they are long, whatever ``dtype``."""
        u = uniform(*shape, generator=generator, device=device)
        return pick(self.probabilities.to(u), u)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability ``(B,)`` of tokens ``x (B, *E)``."""
        return self.of(x).log().reshape(len(x), -1).sum(1)

    def of(self, x: Tensor) -> Tensor:
        """Probability of every token, in the shape of ``x``."""
        p = self.probabilities.to(x.device)
        return p.expand(*x.shape, p.shape[-1]).gather(-1, x[..., None])[..., 0]


class RatesPath:
    r"""Place by place, the letter ``x1`` with probability κ(t), else the token ``x0`` of a source law π:

    .. math:: p_t(x | x_1) = κ δ_{x_1}(x) + (1 − κ) π(x), \qquad u_t(y | x, x_1) = \frac{κ̇}{1 − κ} δ_{x_1}(y), y ≠ x

    The rates of the process are their means under the posterior of ``x1``. Letters are ``0 … k − 1``; π may know more
    tokens than those (a mask), and may differ from place to place, such as the columns of an alignment. A token which
    π cannot give is the letter at t = 1 for certain, whatever a network says: it never jumps.

    Args:
        k: letters.
        source: π, nonnegative numbers ``(S,)`` or ``(L, S)``, ``S ≥ k``, in any unit.

    Raises:
        InputError: for a source that is no law of at least k tokens.

    Source: Campbell et al. 2024, arXiv:2402.04997; Gat et al. 2024, arXiv:2407.15595; the law of the source is free in
    Shaul et al. 2024, arXiv:2412.03487.
    """

    discrete = True

    def __init__(self, k: int, source: Tensor | Sequence[float], schedule: Schedule = Linear()) -> None:
        law = torch.as_tensor(source, dtype=torch.float64)
        total = law.sum(-1, keepdim=True)
        if law.ndim not in (1, 2) or law.shape[-1] < k or not (law >= 0).all() or not (total > 0).all():
            raise InputError(f"source law of shape {tuple(law.shape)}: give nonnegative weights of at least {k} tokens")
        self.k, self.schedule = k, schedule
        self.states = law.shape[-1]
        self.prior: Any = SourceLaw(law / total)
        self.manifold = FlatSimplex(k)  # of the posterior, whose vertices the letters are

    def sample(self, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> PathSample:
        """Tokens at times ``t (B,)`` between tokens ``x0`` and ``x1 (B, L)``, and the rates ``(B, L, S)`` to ``x1``."""
        u = uniform(*x1.shape, generator=generator, dtype=t.dtype, device=t.device)
        x_t = torch.where(u < over_sites(self.schedule.kappa(t), x1), x1, x0)
        return PathSample(x_t, self.velocity(one_hot(x1, self.k).to(t), x_t, t), x0, x1, t)

    def velocity(self, posterior: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Rates ``(B, L, S)`` of jumps from ``x_t (B, L)`` to every token, zero to itself.

        At t = 1, where they are infinite, 1 − κ is floored as for geodesics.
        """
        rate = self.schedule.dkappa(t) / floored_ahead(self.schedule, t)
        rates = pad(scale(rate, posterior), (0, self.states - self.k))
        return rates.scatter(-1, x_t[..., None], 0).where(self.uncertain(x_t)[..., None], 0)

    def advance(self, posterior: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: Generator = None) -> Tensor:
        """Tokens at ``s``: a letter of the posterior with probability ``(κ(s) − κ(t))/(1 − κ(t))``, else ``x_t``.

        This is 1 − exp(−∫λ) for the rate λ = κ̇/(1 − κ): the law of the process as long as the posterior stays what it
        is at ``t``, if π gives all letters or none. Times are ``(B,)``, or ``(B, L)`` where every place has its own.
        """
        drawn = (self.schedule.ahead(t) - self.schedule.ahead(s)) / floored_ahead(self.schedule, t)
        u, v = uniform(len(x_t), 2, *x_t.shape[1:], generator=generator, dtype=t.dtype, device=t.device).unbind(1)
        jumps = (u < over_sites(drawn, x_t)) & self.uncertain(x_t)
        return torch.where(jumps, pick(posterior, v), x_t)

    def redraw(self, posterior: Tensor, x_t: Tensor, t: Tensor, share: Tensor, generator: Generator = None) -> Tensor:
        """A ``share (B,)`` of the places drawn anew from ``κ(t) posterior + (1 − κ(t)) π``; the law at t stays.

        A place drawn anew from ``p_t(x | x1)``, x1 from the posterior, is in detailed balance with the law of the path
        at t. The rate at which this happens is free: it is never divided by κ or 1 − κ, and no end is singular.
        """
        u, v = uniform(len(x_t), 2, *x_t.shape[1:], generator=generator, dtype=t.dtype, device=t.device).unbind(1)
        to_noise = over_sites(share * self.schedule.ahead(t), x_t)
        letters = torch.where(self.uncertain(x_t), pick(posterior, v), x_t)
        drawn = torch.where(u < to_noise, pick(self.prior.probabilities.to(v), v), letters)
        return torch.where(u < over_sites(share, x_t), drawn, x_t)

    def log_conditional(self, x_t: Tensor, t: Tensor) -> Tensor:
        """``log p_t(x_t | x1 = k)`` of every letter k, ``(B, L, K)``, for tokens ``x_t (B, L)`` at times ``t (B,)``."""
        noise = (over_sites(self.schedule.ahead(t), x_t) * self.prior.of(x_t).to(t))[..., None]
        return (noise + over_sites(self.schedule.kappa(t), noise) * one_hot(x_t, self.states)[..., : self.k]).log()

    def uncertain(self, x_t: Tensor) -> Tensor:
        """Whether a token may be noise, bool ``(B, L)``: where it may not, it is the letter at t = 1."""
        return self.prior.of(x_t) > 0


class MaskingPath(RatesPath):
    """Letters behind masks: all start as the token k, and what is uncovered stays.

    Its posteriors do not depend on the time. Source: Campbell et al. 2024, arXiv:2402.04997; as diffusion Shi et al.
    2024, arXiv:2406.04329; Sahoo et al. 2024, arXiv:2406.07524.
    """

    def __init__(self, k: int, schedule: Schedule = Linear()) -> None:
        super().__init__(k, [0.0] * k + [1.0], schedule)


class UniformPath(RatesPath):
    """Letters among random letters, all as likely. Source: Campbell et al. 2024, arXiv:2402.04997."""

    def __init__(self, k: int, schedule: Schedule = Linear()) -> None:
        super().__init__(k, [1.0] * k, schedule)
