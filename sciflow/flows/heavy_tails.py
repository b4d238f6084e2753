"""A base whose tails a flow cannot make: Lipschitz maps of normal numbers stay light-tailed."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..rng import Generator, gamma, normal, uniform

__all__ = ["HeavyTailedBase"]


class HeavyTailedBase(nn.Module):
    r"""Student's t of ν degrees of freedom on real dimensions, uniform on angles in (−π, π]; independent. A prior.

    A spline with linear tails, or any Lipschitz map, of a variable with polynomial tails has tails of the same power,
    and that of a normal variable none: the power must come from the base. Each dimension learns its ν with the flow.

    Args:
        circular: BoolTensor (D,), the dimensions that are angles.
        freedom: ν > 0 at first, one number or one per dimension; large is nearly normal.
        learn: whether ν is a parameter.

    Source: Jaini et al. 2020 (arXiv:1907.04481); Laszkiewicz, Lederer & Fischer 2022 (arXiv:2206.10311).
    """

    real: Tensor
    place: Tensor

    def __init__(self, circular: Tensor, freedom: float | Tensor = 5.0, learn: bool = True) -> None:
        super().__init__()
        real, angles = (~circular).nonzero().flatten(), circular.nonzero().flatten()
        freedom = torch.as_tensor(freedom, dtype=torch.get_default_dtype()).expand(len(real))
        if not (freedom > 0).all():
            raise ValueError(f"freedom = {freedom.tolist()}: degrees of freedom are positive")
        self.register_buffer("real", real)
        self.register_buffer("place", torch.cat((real, angles)).argsort())
        self.raw_freedom = nn.Parameter(freedom + (-(-freedom).expm1()).log(), requires_grad=learn)

    @property
    def freedom(self) -> Tensor:
        """ν of the real dimensions."""
        return F.softplus(self.raw_freedom)

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draws (\\*shape, D), differentiable in ν; with a sequence of generators, one per sample."""
        half = self.freedom / 2
        like: dict[str, Any] = {"dtype": dtype or half.dtype, "device": device or half.device}
        numbers = normal(*shape, len(half), generator=generator, **like)
        numbers = numbers * (half / gamma(half, *shape, len(half), generator=generator, **like)).sqrt()
        angles = math.pi - 2 * math.pi * uniform(*shape, len(self.place) - len(half), generator=generator, **like)
        return torch.cat((numbers, angles), -1).index_select(-1, self.place)

    def log_prob(self, x: Float[Tensor, "B *E D"]) -> Float[Tensor, " B"]:
        """Log-density (B,) of x (B, \\*E, D)."""
        numbers, nu = x.index_select(-1, self.real), self.freedom
        log_norm = torch.lgamma((nu + 1) / 2) - torch.lgamma(nu / 2) - (math.pi * nu).log() / 2
        density = log_norm - (nu + 1) / 2 * (numbers.square() / nu).log1p()
        angles = x.flatten(1).shape[1] - numbers.flatten(1).shape[1]
        return density.flatten(1).sum(-1) - angles * math.log(2 * math.pi)
