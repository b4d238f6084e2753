"""The Dirichlet path to a vertex of the simplex."""

import math

import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import scale
from ..rng import Generator, gamma
from .categorical import SimplexPath, over_sites
from .dirichlet_rate import DirichletRate

__all__ = ["DirichletPath"]

_MISTAKEN = 1e-4  # probability that another letter leads just before t = 1


class DirichletPath(SimplexPath):
    r"""Given its letter, ``x_t ~ Dirichlet(1 + α(t) e_k)``, ``α(t) = α_max t``; at t = 1 the letter itself.

    .. math:: u_t(x \mid e_k) = α_{max} C(x_k, α) (e_k - x), \qquad
              u_t(x) = α_{max} \sum_k p_k C(x_k, α) (e_k - x)

    with the rate C of ``dirichlet_rate``, and the posterior p.

    **α_max.** Another letter j leads, ``x_j > x_k``, with probability ``2^{−(1+α)}`` exactly: a unit of α halves the
    doubt, whatever k. By default α_max is where any of the k − 1 leads with probability 10⁻⁴ at most,
    ``log₂((k − 1)/10⁻⁴) − 1``: 13.9 at k = 4, 16.5 at 20, 19.6 at 160. The published α ≤ 7 (their ``8``) for every k
    leaves 1.1 %, 5.7 % and 23 %. It is not to grow as k does, as the mean ``x_k = (1 + α)/(k + α)`` would ask for to be
    near 1: the letter would be known, and the flow over, by ``t ≈ log₂(k)/k``.

    What is left at α_max is one step: the flow of a certain posterior contracts to its vertex as α → ∞, and so
    ``advance`` ends in the posterior at s = 1, as that of the linear path.

    Raises:
        InputError: when ``alpha_max`` is not positive.

    Source: Stark et al. 2024 (arXiv:2402.05841).
    """

    def __init__(self, k: int, alpha_max: float | None = None) -> None:
        super().__init__(k)
        self.alpha_max = math.log2((k - 1) / _MISTAKEN) - 1 if alpha_max is None else alpha_max
        if not 0 < self.alpha_max < math.inf:
            raise InputError(f"alpha_max={alpha_max} of the Dirichlet path: give a positive number, or none")
        self.rate = DirichletRate(k, self.alpha_max)

    def point(self, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> Tensor:
        """``x1 + W (x0 − x1)`` with ``W ~ Beta(k, α)`` at each site: of that law if ``x0`` is the prior's.

        ``x0`` are k exponential variables over their sum; one of shape α more for the letter makes ``1 + α e_k``.
        """
        shape = x0.shape[:-1]
        alpha = (self.alpha_max * t).reshape(-1, *(1,) * (x0.ndim - 2)).expand(shape)
        more = gamma(alpha, *shape, generator=generator, dtype=x0.dtype, device=x0.device)
        wait = gamma(alpha.new_tensor(self.k), *shape, generator=generator, dtype=x0.dtype, device=x0.device)
        w = torch.where(over_sites(t, wait) < 1, wait / (wait + more), 0.0)
        return x1 + w[..., None] * (x0 - x1)

    def velocity(self, posterior: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        pull = posterior * self.rate(x_t, self.alpha_max * t)
        return self.alpha_max * (pull - pull.sum(-1, keepdim=True) * x_t)

    def advance(self, posterior: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: Generator = None) -> Tensor:
        """A convex step of order 2, with the rates of its middle: ``e^{−hA} x + (1 − e^{−hA}) Σ p_k C_k e_k/A``.

        ``A = Σ p_k C_k``, ``h = α(s) − α(t)``. The posterior itself at s = 1.
        """
        alpha, h = self.alpha_max * t, self.alpha_max * (s - t)
        middle = _step(x_t, posterior * self.rate(x_t, alpha), h / 2)
        end = _step(x_t, posterior * self.rate(middle, alpha + h / 2), h)
        return torch.where(over_sites(s, end) < 1, end, posterior)

    def log_conditional(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha = self.alpha_max * t
        common = torch.lgamma(self.k + alpha) - torch.lgamma(1 + alpha) - math.log(self.k) / 2
        return over_sites(common, x_t) + torch.xlogy(over_sites(alpha, x_t), x_t)


def _step(x: Tensor, pull: Tensor, h: Tensor) -> Tensor:
    """The flow of ``Σ c_k (e_k − x)`` after h, for constant rates c ``(B, L, k)``."""
    total = pull.sum(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    moved = -torch.expm1(-scale(h, total))
    return x - moved * x + moved / total * pull
