"""The transformer autoregressive flow of a molecule."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from openmm import app
from torch import Tensor

from ..boltzmann import Energy
from ..boltzmann.losses import Losses
from ..errors import InputError, require_above
from ..flows import tarflow
from ..training import FlowModel, Model
from .zmatrix import zmatrix

__all__ = ["TarFlow"]


@dataclass
class TarFlow:
    """Causal affine maps of atoms in Cartesian coordinates, each by a transformer of the atoms before it (Zhai et al.
    2024, arXiv:2412.06329; Tan et al. 2025, arXiv:2502.18462).

    Atoms stand in the order of the Z-matrix, seen from the frame of its first three (N, CA, C of a residue).
    ``chunk`` atoms are iterated together when a sample is drawn: 1 suits a CPU, more a GPU. ``loss`` names what it is
    trained by, ``losses`` has the settings of each."""

    blocks: int = 4
    width: int = 48
    depth: int = 1
    heads: int = 4
    chunk: int = 1
    loss: str = "forward_kl"
    losses: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "blocks", "width", "depth", "heads", "chunk")
        if self.width % self.heads:
            raise InputError(f"model.width={self.width} must be a multiple of model.heads={self.heads}")
        self.losses.named(self.loss)

    def build(self, topology: app.Topology, frames: Tensor, energy: Callable[[], Energy], seed: int = 0) -> Model:
        loss = self.losses.named(self.loss)
        first, middle, *others = zmatrix(topology)[:, 0]
        order = torch.stack([middle, first, *others])  # the middle one of the first three is the origin
        flow = tarflow(order, frames, self.blocks, self.width, self.depth, self.heads, chunk=self.chunk, seed=seed)
        return FlowModel(flow, energy() if loss.needs_energy else None, loss)
