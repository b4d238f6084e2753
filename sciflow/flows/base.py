"""The base of a flow over numbers and angles."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..rng import Generator, normal, uniform

__all__ = ["MixedBase"]


class MixedBase(nn.Module):
    """Standard normal on real dimensions, uniform on angles in (−π, π]; independent. A prior.

    Args:
        circular: BoolTensor (D,), the dimensions that are angles.
    """

    circular: Tensor

    def __init__(self, circular: Tensor) -> None:
        super().__init__()
        self.register_buffer("circular", circular)

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draws (\\*shape, D); with a sequence of generators, one per sample."""
        d = len(self.circular)
        numbers = normal(*shape, d, generator=generator, dtype=dtype, device=device)
        angles = math.pi - 2 * math.pi * uniform(*shape, d, generator=generator, dtype=dtype, device=device)
        return torch.where(self.circular.to(numbers.device), angles, numbers)

    def log_prob(self, x: Float[Tensor, "B *E D"]) -> Float[Tensor, " B"]:
        """Log-density (B,) of x (B, \\*E, D)."""
        numbers = -0.5 * (x.square() + math.log(2 * math.pi))
        return torch.where(self.circular, -math.log(2 * math.pi), numbers).flatten(1).sum(-1)
