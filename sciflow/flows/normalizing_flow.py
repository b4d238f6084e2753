"""A density made of a simple one and an invertible map."""

from typing import Any

import torch
import zuko.transforms  # noqa: F401 (gives every Transform of torch its call_and_ladj)
from torch import Tensor, nn
from torch.distributions import Transform

from ..manifolds import Prior
from ..rng import Generator

__all__ = ["NormalizingFlow"]


class NormalizingFlow(nn.Module):
    r"""log q(x) = log p(f(x)) + log|det ∂f/∂x| with f from data x to latents z.

    Args:
        base: prior p of the latents.
        transform: f, a transform in the manner of zuko (`call_and_ladj`, `inv`); its parameters train with the flow.

    Source: Papamakarios et al. 2021 (arXiv:1912.02762).
    """

    def __init__(self, base: Prior[Tensor], transform: Transform) -> None:
        super().__init__()
        self.base = base
        self.transform: Any = transform

    def sample(self, n: int, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """n samples and their log-densities (n,); differentiable, so draw large n under `torch.no_grad`.

        With a sequence of n generators sample i depends on generator i alone.
        """
        parameter = next(self.parameters(), torch.empty(0))
        z = self.base.sample(n, generator=generator, dtype=parameter.dtype, device=parameter.device)
        x, ladj = self.transform.inv.call_and_ladj(z)
        return x, self.base.log_prob(z) - ladj

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density (B,) of x."""
        z, ladj = self.transform.call_and_ladj(x)
        return self.base.log_prob(z) + ladj
