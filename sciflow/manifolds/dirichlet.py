"""The Dirichlet prior on the simplex."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..rng import Generator, gamma, uniform
from .simplex import Simplex

__all__ = ["Dirichlet"]


@dataclass(frozen=True)
class Dirichlet:
    r"""``Dirichlet(α_1, …, α_k)`` on the Fisher–Rao simplex, its density with respect to the Riemannian volume:

    .. math:: \log p(x) = \log \Gamma(\textstyle\sum α_i) - \sum \log \Gamma(α_i) + \sum (α_i - \tfrac12) \log x_i

    The usual density, with respect to Lebesgue measure, has α − 1 in place of α − ½: add
    ``Simplex.log_volume_element``. α = ½ is uniform here, α = 1 is uniform there.

    Raises:
        InputError: when a concentration is not positive, or there are fewer than two.
    """

    concentration: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.concentration) < 2 or not all(0 < a < math.inf for a in self.concentration):
            raise InputError(f"Dirichlet concentration={self.concentration}: give two or more positive numbers")

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw ``(*shape, k)``, as gamma variables over their sum.

        A gamma variable of shape α is one of shape α + 1 times U^{1/α}; in logarithms, so that small α do not underflow
        (Marsaglia, Tsang 2000).
        """
        shape = (*shape, len(self.concentration))
        alpha = torch.tensor(self.concentration, dtype=torch.float64)
        larger = gamma(alpha + 1, *shape, generator=generator, dtype=dtype, device=device)
        u = uniform(*shape, generator=generator, dtype=dtype, device=device)
        return (larger.log() + torch.log1p(-u) / alpha.to(u)).softmax(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` of ``x (B, *E, k)``, summed over E; finite on faces, where it may be infinite."""
        alpha = torch.tensor(self.concentration, dtype=x.dtype, device=x.device)
        simplex = Simplex(len(self.concentration))
        scale = math.lgamma(sum(self.concentration)) - sum(map(math.lgamma, self.concentration))
        density = scale + (2 * alpha - 1).mul(simplex.coordinates(x).log()).sum(-1)
        return density.reshape(len(x), -1).sum(1)
