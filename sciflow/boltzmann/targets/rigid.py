"""Rigid bodies: where their sites are, the forces and torques on them, and Hamiltonian Monte Carlo of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...manifolds import SO3
from ...manifolds.quaternion import conjugate, multiply, to_matrix
from ...rng import Generator
from ..kernels import Kernel, square
from ..potentials import Here, Potential

__all__ = ["RigidHMC", "place", "torque"]


def place(x: Tensor, body: Tensor) -> Tensor:
    """Sites (…, N, S, 3) of N bodies x (…, N, 7), each a place (nm) and a quaternion w, x, y, z; ``body`` (S, 3)."""
    return x[..., None, :3] + torch.einsum("...ij,kj->...ki", to_matrix(x[..., 3:]), body.to(x))


def torque(x: Tensor, force: Tensor) -> Tensor:
    """Force and torque (…, N, 6) of a force −∂U/∂x (…, N, 7) in ambient coordinates.

    The torque is −dU/du at 0 of q·exp(u), a vector in the frame of the body.
    """
    turn = multiply(conjugate(x[..., 3:]), force[..., 3:])[..., 1:] / 2
    return torch.cat((force[..., :3], turn), -1)


@dataclass(frozen=True, eq=False)
class RigidHMC(Kernel):
    """Hamiltonian Monte Carlo of rigid bodies x (B, N, 7), exact on R³ × SO(3).

    Momenta are those of a particle in R³ and of a spherical top with the bi-invariant metric of SO(3), whose free
    motion q·exp(tω) has a constant ω: leapfrog steps are then reversible and keep the volume.

    Args:
        size: step of places, in nm/√kT per unit of momentum.
        turn: step of rotations over that of places, in rad/nm.
        leapfrogs: steps of a move.

    Source: Duane et al. 1987, https://doi.org/10.1016/0370-2693(87)91197-X; on Lie groups Barp et al. 2019,
    arXiv:1903.04662.
    """

    turn: float = 15.0
    leapfrogs: int = 8

    def propose(self, x: Tensor, here: Here, energy: Potential, generator: Generator) -> tuple[Tensor, Here, Tensor]:
        ratio = torch.cat((x.new_ones(3), x.new_full((3,), self.turn)))
        size = self.sizes(x) * ratio
        momentum = self.noise(x[..., :6], generator)
        y, p, there = x, momentum, here
        for _ in range(self.leapfrogs):
            p = p + size / 2 * _pull(y, there)
            moved = size * p
            y = torch.cat((y[..., :3] + moved[..., :3], SO3().projx(SO3().expmap(y[..., 3:], moved[..., 3:]))), -1)
            there = self.look(y, energy)
            p = p + size / 2 * _pull(y, there)
        return y, there, here.energy - there.energy + (square(momentum) - square(p)) / 2


def _pull(x: Tensor, here: Here) -> Tensor:
    assert here.force is not None
    return torque(x, here.force)
