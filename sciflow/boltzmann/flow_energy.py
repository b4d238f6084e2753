"""A flow as a potential: what it learnt, for simulation."""

from dataclasses import dataclass, replace

from torch import Tensor

from ..flows import NormalizingFlow
from .potentials import LogDensity

__all__ = ["FlowEnergy"]


@dataclass(frozen=True)
class FlowEnergy:
    """Energy −log q(x) of a flow in kT, its forces by autograd. An ``Energy``.

    Give it a flow of `smooth_couplings`: the forces of a spline jump at every knot, and a short step is no remedy.

    Args:
        flow: whose density is the Boltzmann density at ``temperature``.
        temperature: in kelvin (of a flow in reduced units: in those).
        scale: energies in kT are −log q times this, which `at` sets to the ratio of two temperatures.

    Source: Köhler, Krämer & Noé 2021 (arXiv:2110.00351).
    """

    flow: NormalizingFlow
    temperature: float = 1.0
    scale: float = 1.0

    def energy(self, x: Tensor) -> Tensor:
        """``(B,)`` in kT."""
        return self._potential.energy(x)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B,)`` in kT, and the force with the shape of ``x``."""
        return self._potential.energy_and_force(x)

    def at(self, temperature: float) -> "FlowEnergy":
        """The same potential at another temperature."""
        return replace(self, temperature=temperature, scale=self.scale * self.temperature / temperature)

    @property
    def _potential(self) -> LogDensity:
        return LogDensity(lambda x: self.scale * self.flow.log_prob(x))
