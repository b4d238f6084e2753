"""Time as a vector that a network can read."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["TimeEmbedding"]


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time, then a small network.

    ``[sin ω_k t, cos ω_k t]`` with ``frequencies`` angular frequencies ω spread geometrically from 1 to
    ``max_frequency``. The highest one bounds how fast the field may change in time: derivatives along time
    (adaptive steps, Eulerian objectives) grow with it, hence the modest default.

    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    omega: Tensor

    def __init__(self, width: int, frequencies: int = 16, max_frequency: float = 64.0) -> None:
        super().__init__()
        omega = torch.linspace(0, math.log(max_frequency), frequencies).exp()
        self.register_buffer("omega", omega, persistent=False)
        self.net = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Float[Tensor, " B"]) -> Float[Tensor, "B width"]:
        angle = t[:, None] * self.omega
        return self.net(torch.cat([angle.sin(), angle.cos()], -1))
