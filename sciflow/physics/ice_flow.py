"""Learned free-energy perturbation of crystals: a flow of rigid bodies from one temperature to another."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..boltzmann import Energy
from ..boltzmann.losses import Loss
from ..boltzmann.targets import Ice
from ..errors import require_above
from ..flows import Composed, FromSites, NormalizingFlow, Sites, rigid_couplings
from ..rng import Generator, uniform
from ..training import FlowModel, Model

__all__ = ["CrystalFlow", "Ensemble", "Perturbation"]

SCALE = 0.02  # nm: of displacements in the coordinates of the flow


class Ensemble(nn.Module):
    """Frames ``(F, *event)`` drawn from exp(−energy), as the base of a flow.

    ``log_prob`` is −energy, without its constant: weights of a flow from here to another energy have the mean
    Z_end/Z_start, and −log of it is the free-energy difference.
    """

    frames: Tensor

    def __init__(self, frames: Tensor, energy: Energy) -> None:
        super().__init__()
        self.register_buffer("frames", frames, persistent=False)
        self.energy = energy

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Frames of chance, with replacement, ``(*shape, *event)``."""
        return self.frames[self.chosen(*shape, generator=generator, device=device)].to(dtype=dtype)

    def chosen(self, *shape: int, generator: Generator = None, device: torch.device | str | None = None) -> Tensor:
        """The numbers of the frames that ``sample`` gives for the same generator."""
        return (uniform(*shape, generator=generator, dtype=torch.float64, device=device) * len(self.frames)).long()

    def log_prob(self, x: Tensor) -> Tensor:
        return -self.energy.energy(x.double()).to(x)


@dataclass
class Perturbation(Loss):
    """Mean generalised work u_end(M(x)) − log|det ∂M/∂x| of frames x of the base, up to the mean of their own energy.

    M is the flow from base to data. The mean work is ΔF plus the divergence of what M makes of the base's ensemble from
    the end's: zero when M takes one to the other.

    Source: Wirnsberger et al. 2020 (arXiv:2002.04913); for rigid bodies Köhler et al. 2023 (arXiv:2301.11355).
    """

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        x, ladj = flow.transform.inv.call_and_ladj(batch["x"])
        value, force = self.energy_and_force_of(energy, x.detach())
        along = -(x * force).flatten(1).sum(1)  # its derivative is that of the energy
        return torch.where(value.isfinite(), value + along - along.detach() - ladj, 0.0)

    def held_out(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        """The same of held-out frames."""
        return self(flow, energy, batch, generator)


@dataclass
class CrystalFlow:
    """Couplings of places and rotations by transformers between bodies, from frames at one temperature to another.

    They start as the contraction of all displacements and small rotations by √(cold/hot), which would be exact for a
    harmonic crystal.

    Attributes:
        couplings, width, depth, bins: of the flow.
    """

    couplings: int = 3
    width: int = 48
    depth: int = 1
    bins: int = 8

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "couplings", "width", "depth")
        require_above(1, "model.", self, "bins")

    def build(self, hot: Ice, cold: Ice, frames: Tensor, seed: int = 0) -> Model:
        """From ``frames (F, N, 7)`` of ``hot`` towards ``cold``."""
        growth = math.sqrt(hot.temperature / cold.temperature)
        layers = rigid_couplings(
            cold.molecules, self.couplings, growth, width=self.width, depth=self.depth, bins=self.bins, seed=seed
        )
        sites = cold.sites.float()
        flow = NormalizingFlow(
            Ensemble(frames, hot), Composed(Sites(sites, SCALE), *layers.transforms, FromSites(sites, SCALE))
        )
        return FlowModel(flow, cold, Perturbation())
