"""Time, and points of a manifold, as vectors that a network can read."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..manifolds import FlatTorus, Manifold

__all__ = ["Features", "TimeEmbedding"]

_SHARPEST = 0.002  # of 1 − t: how close to the data the logarithmic clock still tells times apart


class TimeEmbedding(nn.Module):
    r"""A small network on the harmonics of two clocks, ``t`` and ``ℓ = −log(1 + ε − t)`` (scaled to run from 0 to 1).

    ``[τ, \sin πkτ, \cos πkτ]``, ``k = 1 … frequencies``, of both. The field of sharp data changes at the pace of ℓ: as
    fast as ``1/(1 − t)`` near the data, down to ``1 − t = ε = 0.002``.
    """

    omega: Tensor

    def __init__(self, width: int, frequencies: int = 8) -> None:
        super().__init__()
        self.register_buffer("omega", math.pi * torch.arange(1.0, frequencies + 1), persistent=False)
        self.net = nn.Sequential(nn.Linear(2 + 4 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Float[Tensor, " B"]) -> Float[Tensor, "B width"]:
        late = -(1 + _SHARPEST - t).clamp_min(_SHARPEST).log() / -math.log(_SHARPEST)
        clocks = torch.stack([t, late], -1)
        angle = (clocks[..., None] * self.omega).flatten(-2)
        return self.net(torch.cat([clocks, angle.sin(), angle.cos()], -1))


class Features(nn.Module):
    """What a network reads of a point, ``(B, *E, F)``: single-valued on the manifold, and as fine as asked for.

    Angles of a torus enter by their first ``harmonics`` (sin kx, cos kx); points of any other manifold by its
    ``coordinates`` c and, with ``fourier`` > 0, by as many ``sin ω·c`` and ``cos ω·c``, of random directions and of
    lengths spread geometrically from 1 to ``sharpness`` (Tancik et al. 2020, arXiv:2006.10739): data with detail of
    size δ need a sharpness of some 1/δ.

    With ``blur`` > 0 the waves fade in as time goes on, ``exp(−(|ω| blur (1 − t))²/2)`` each: at time t a density is
    that of the data through a kernel as wide as 1 − t, and what a network reads of finer detail it can only learn by
    heart (after Barron et al. 2021, arXiv:2103.13415, who fade waves by the width of what they look at).
    """

    def __init__(
        self,
        manifold: Manifold[Any],
        harmonics: int = 3,
        fourier: int = 0,
        sharpness: float = 64.0,
        blur: float = 0.0,
    ) -> None:
        super().__init__()
        self.manifold, self.harmonics, self.blur = manifold, harmonics, blur
        width = manifold.coordinates(manifold.random(1)).shape[-1]
        self.size = width + 2 * fourier
        self.omega = None
        if isinstance(manifold, FlatTorus):
            self.size = 2 * harmonics * manifold.d
        elif fourier:
            directions = nn.functional.normalize(torch.randn(width, fourier), dim=0)
            lengths = torch.linspace(0, math.log(sharpness), fourier).exp()
            self.omega = nn.Parameter(directions * lengths, requires_grad=False)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Of points at times ``t (B,)``."""
        if isinstance(self.manifold, FlatTorus):
            angle = torch.cat([k * x for k in range(1, self.harmonics + 1)], -1)
            return torch.cat([angle.sin(), angle.cos()], -1)
        c = self.manifold.coordinates(x)
        if self.omega is None:
            return c
        angle = c @ self.omega
        waves = torch.cat([angle.sin(), angle.cos()], -1)
        if self.blur:
            width = (self.blur * (1 - t)).reshape(-1, *[1] * (c.ndim - 1))
            fade = torch.exp(-0.5 * (self.omega.norm(dim=0) * width).square())
            waves = waves * torch.cat([fade, fade], -1)
        return torch.cat([c, waves], -1)
