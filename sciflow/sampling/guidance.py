"""Guidance of posteriors: tilts ``q(k) e^{w(k)} / Z`` site by site, whatever the path, its state and its steps.

Every hook turns ``denoise(x, t, **cond)``, which gives probabilities ``(B, *E, K)`` of the letter at t = 1, into
another one. What comes out are probabilities at any strength, and strength 0 gives back the very same function.

Where sites are independent, with laws p_l, the posterior is ``∝ p_l(k) p_t(x_t | k)``. Tilted by a ``w_l(k)`` that
knows neither state nor time it is, on every path, the posterior of the law ``p_l(k) e^{w_l(k)} / Z_l``, which samples
then follow exactly. Elsewhere a tilt of one site leaves out how the others answer: samples are drawn towards the guided
law, but not from it; :func:`~sciflow.sampling.feynman_kac` has weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..rng import Generator, categorical
from .posterior import Denoise

__all__ = ["CFG", "Classifier", "StraightThrough", "tilted"]


class CFG:
    r"""Classifier-free guidance, ``q ∝ p_c^{1+γ} / p_u^γ``: γ = 0 is the conditional posterior, γ = −1 the other one.

    With :math:`p_c/p_u = p(c | x_1^l = k, x_t)/p(c | x_t)` the tilt is that of a classifier to the power γ more. It is
    exact for sites that are independent given the condition: the law becomes ``p(k | c)^{1+γ} p(k)^{−γ} / Z``. The
    rates of Nisonoff et al. are these but for the total of each site, which here stays that of the path.

    Args:
        strength: γ.
        unconditional: values of conditions that stand for none, numbers or tensors that broadcast to them; None leaves
            a condition out.

    Source: Ho & Salimans 2022, arXiv:2207.12598; on discrete flows Nisonoff et al. 2024, arXiv:2406.01572.
    """

    def __init__(self, strength: float, **unconditional: Any) -> None:
        self.strength, self.unconditional = strength, unconditional

    def __call__(self, denoise: Denoise) -> Denoise:
        if self.strength == 0:
            return denoise

        def guided(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
            if absent := self.unconditional.keys() - cond.keys():
                raise ValueError(f"no condition {min(absent)} to guide by; there are: {', '.join(cond) or 'none'}")
            without = {name: value for name, value in cond.items() if name not in self.unconditional}
            for name, value in self.unconditional.items():
                if value is not None:
                    without[name] = torch.as_tensor(value).to(cond[name]).expand_as(cond[name])
            given, free = denoise(x, t, **cond), denoise(x, t, **without)
            tiny = torch.finfo(free.dtype).tiny  # where rounding makes an unlikely letter an impossible one
            return tilted(given, self.strength * (given.clamp_min(tiny).log() - free.clamp_min(tiny).log()))

        return guided


@dataclass(frozen=True)
class Classifier:
    r"""Guidance by a classifier of noisy states, ``w_l(k) = γ`` × the first-order change of ``log p(y | x_t)`` when
    site l is set to letter k, :math:`γ (e_k − x_t^l) · ∇_{x_t^l} \log p(y | x_t)`.

    Exact on the masking path where ``log p(y | x_t)`` is a sum over sites: unmasking a site *is* learning its letter.
    On other paths a state that is set to a letter is less than certain of it before t = 1, and the tilt is too weak at
    first; where the path's own conditional density has no slope (a linear path from a uniform source) there is none.

    Args:
        log_prob: ``log p(y | x_t)`` (rows,) of states ``(rows, L, states)`` at times (rows,). Tokens come as one-hot.
        strength: γ; 1 is Bayes' rule.
        states: of tokens, where there is one more than letters (a mask).

    Source: Nisonoff et al. 2024, arXiv:2406.01572 (rates, and their first order); Stark et al. 2024, arXiv:2402.05841.
    """

    log_prob: Callable[[Tensor, Tensor], Tensor]
    strength: float
    states: int | None = None

    def __call__(self, denoise: Denoise) -> Denoise:
        if self.strength == 0:
            return denoise

        def guided(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
            posterior = denoise(x, t, **cond)
            k = posterior.shape[-1]
            point = x if x.is_floating_point() else _one_hot(x, self.states or k, posterior.dtype)
            times = t.repeat_interleave(point[..., 0, 0].numel() // len(t))
            slope = _slope(lambda z: self.log_prob(z, times), point)
            return tilted(posterior, self.strength * slope[..., :k])

        return guided


@dataclass(frozen=True)
class StraightThrough:
    r"""Guidance by an oracle of clean sequences, without training: ``w_l(k) = γ`` × the mean of
    :math:`∂ \log p(y | \hat x) / ∂ \hat x_l^k` over draws :math:`\hat x` from the posterior.

    The oracle sees letters, its slope passes straight through the draw. Exact where ``log p(y | x)`` is a sum over
    sites; else first order in the change of one letter, averaged over what the others may be. (In STGFlow the slope
    goes on through the network to the state and is added to the velocity; a tilt needs no backward pass of it.)

    Args:
        log_prob: ``log p(y | x)`` (rows,) of sequences ``(rows, L, K)``, one-hot, differentiable.
        strength: γ; 1 is Bayes' rule.
        draws: M, over which the slope is averaged: cost M evaluations of the oracle, none of the network.
        generator: of the draws.

    Source: Tang et al. 2025 (STGFlow), arXiv:2503.17361.
    """

    log_prob: Callable[[Tensor], Tensor]
    strength: float
    draws: int = 4
    generator: Generator = None

    def __call__(self, denoise: Denoise) -> Denoise:
        if self.strength == 0:
            return denoise

        def guided(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
            posterior = denoise(x, t, **cond)
            slope = torch.zeros_like(posterior)
            for _ in range(self.draws):
                letters = categorical(posterior, self.generator)
                slope += _slope(self.log_prob, _one_hot(letters, posterior.shape[-1], posterior.dtype)) / self.draws
            return tilted(posterior, self.strength * slope)

        return guided


def tilted(posterior: Tensor, tilt: Tensor) -> Tensor:
    """``posterior · e^tilt``, normalised over the last axis: probabilities for any tilt that is a number, or ±∞.

    Letters of probability 0 stay there. Those of tilt ∞ share all of it; where all are −∞ the posterior stays as it is.
    """
    tilt = tilt.masked_fill(posterior == 0, -torch.inf)
    best = tilt.amax(-1, keepdim=True)
    relative = torch.where(best.isinf(), torch.where(tilt == best, 0.0, -torch.inf), tilt - best)
    return (posterior.log() + relative).softmax(-1)


def _slope(log_prob: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Slope at ``x (B, *E, L, K)`` of a function of ``(rows, L, K)``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(log_prob(x.flatten(0, -3)).sum(), x)[0]


def _one_hot(tokens: Tensor, k: int, dtype: torch.dtype) -> Tensor:
    return torch.nn.functional.one_hot(tokens, k).to(dtype)
