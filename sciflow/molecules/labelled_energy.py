"""The target of a Boltzmann generator of a molecule: its force field, and the stereochemistry that dynamics keeps."""

import torch
from torch import Tensor, nn

from ..boltzmann import TorchForceField
from .stereochemistry import Stereochemistry

__all__ = ["LabelledEnergy"]


class LabelledEnergy(nn.Module):
    """Energy of the labelled molecule: that of the force field, and +∞ with no force outside of the stereochemistry.

    Frames ``x (B, N, 3)`` in nm; energies ``(B,)`` in kT, forces in kT/nm.
    """

    def __init__(self, force_field: TorchForceField, stereochemistry: Stereochemistry) -> None:
        super().__init__()
        self.force_field = force_field
        self.stereochemistry = stereochemistry

    def energy(self, x: Tensor) -> Tensor:
        return torch.where(self.stereochemistry.kept(x), self.force_field.energy(x), torch.inf)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        energy, force = self.force_field.energy_and_force(x)
        kept = self.stereochemistry.kept(x)
        return torch.where(kept, energy, torch.inf), torch.where(kept[:, None, None], force, 0.0)

    def at(self, temperature: float) -> "LabelledEnergy":
        """The same at another temperature (kelvin)."""
        return LabelledEnergy(self.force_field.at(temperature), self.stereochemistry)
