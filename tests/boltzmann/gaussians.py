"""A Gaussian flow and a Gaussian target, between which every divergence has a closed form."""

import math

import torch
from torch import Tensor, nn

from sciflow.flows import MixedBase, ModuleTransform, NormalizingFlow
from sciflow.rng import normal, step_generator

WIDTH = 1.2  # of the target
N = 40_000


class Stretched(ModuleTransform):
    """x ↦ (x − mean) e^(−log_scale)."""

    def __init__(self, mean: float, scale: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.full((2,), mean, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.full((2,), math.log(scale), dtype=torch.float64))

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.mean) * (-self.log_scale).exp(), -self.log_scale.sum().expand(x.shape[:-1])

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean + self.log_scale.exp() * y, self.log_scale.sum().expand(y.shape[:-1])


class Gaussian(NormalizingFlow):
    """N(mean, diag e^(2 log_scale)), a flow of two dimensions with two parameters each."""

    def __init__(self, mean: float = 0.0, scale: float = WIDTH) -> None:
        super().__init__(MixedBase(torch.zeros(2, dtype=torch.bool)), Stretched(mean, scale))

    @property
    def mean(self) -> nn.Parameter:
        return self.transform.mean

    @property
    def log_scale(self) -> nn.Parameter:
        return self.transform.log_scale


class Target:
    """exp(−energy) = 3 N(0, WIDTH²), counting how often it is asked; +∞ where x₁ is beyond ``wall``."""

    def __init__(self, wall: float = math.inf) -> None:
        self.asked, self.wall = 0, wall

    def energy(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        energy = (x / WIDTH).square().sum(-1) / 2 + math.log(2 * math.pi * WIDTH**2 / 3)
        return torch.where(x[:, 0] > self.wall, torch.nan, energy)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.energy(x), -x / WIDTH**2

    def at(self, temperature: float) -> "Target":
        raise NotImplementedError


def data(n: int = N) -> Tensor:
    return WIDTH * normal(n, 2, generator=step_generator(1), dtype=torch.float64)
