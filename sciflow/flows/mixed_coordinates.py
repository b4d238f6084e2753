"""A backbone in Cartesian coordinates of its own frame, the other atoms by bonds, angles and torsions on it."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints

from ..errors import InputError
from ..manifolds import center
from ..paths import kabsch
from .internal_coordinates import check_zmatrix
from .placement import Placement
from .transform import ModuleTransform

__all__ = ["MixedCoordinates"]

_STRAIGHT = 1e-3  # width over length of a line; atoms that are bent at all have some hundred times that


class MixedCoordinates(ModuleTransform):
    r"""Cartesian (…, N, 3) in nm to (…, 3N−6): components of a core of C atoms; bonds, angles, torsions of the others.

    A torsion early in a chain turns everything after it; a change of the core's components stays where it is. The core
    is centred and turned onto a reference μ by the rotation of least squares. It then has no torque, Σ μ × x = 0, which
    is linear in x (Eckart's frame): the aligned core is exactly :math:`μ + A z` with A orthonormal axes (3C, 3C−6)
    orthogonal to the six rigid motions of μ, here the principal axes of the training frames. The M other atoms are
    placed by the rows of the Z-matrix as in `InternalCoordinates`.

    **Measure.** As there, ladj is with respect to Cartesian volume modulo rigid motions, d^{3N}x / (d³x₀ dR):

    .. math:: d^{3N}x = d^3x_0\, dR\; C^{3/2} \frac{\det T(x)}{\sqrt{\det T(\mu)}} \, dz
              \prod_i b_i^2 \sin a_i \, db_i\, da_i\, d\tau_i, \qquad T(x) = \operatorname{tr} H - H,\; H = \sum μ x^T.

    **Chart.** T(x) is positive definite where the core is aligned as it stands, and singular on the border. Beyond it z
    describes a core that has another, better alignment: there ladj of the inverse is −∞, hence log q = +∞ and an
    importance weight of zero, which makes the weights of a flow exact whatever it puts there.

    Args:
        zmatrix: LongTensor (N, 4), see `InternalCoordinates`.
        core: indices of C ≥ 3 atoms, among them those of the first three rows.
        reference: μ (C, 3) in nm with its mean at the origin, not on a line.
        axes: A (3C, 3C−6).

    Raises:
        InputError: if the Z-matrix is malformed, the core lacks an atom of its first three rows or lies on a line.

    Computes in float64 whatever the dtype of x.

    Source: Noé et al. 2019 (arXiv:1812.01729); Eckart, Phys. Rev. 47 (1935) 552.
    """

    domain = constraints.independent(constraints.real, 2)

    core: Tensor
    reference: Tensor
    axes: Tensor

    def __init__(self, zmatrix: Tensor, core: Sequence[int], reference: Tensor, axes: Tensor) -> None:
        super().__init__()
        zmatrix = torch.as_tensor(zmatrix, dtype=torch.long)
        _check_core(zmatrix, core)
        _check_bent(reference, core)
        self.n_atoms = len(zmatrix)
        rest = [n for n, atom in enumerate(zmatrix[:, 0].tolist()) if atom not in set(core)]
        self.placement = Placement(core, zmatrix[rest])
        self.register_buffer("core", torch.tensor(list(core)), persistent=False)
        self.register_buffer("reference", reference.double())
        self.register_buffer("axes", axes.double())

    @classmethod
    def fit(cls, zmatrix: Tensor, core: Sequence[int], frames: Float[Tensor, "n N 3"]) -> "MixedCoordinates":
        """Reference and principal axes of the core of training frames, in nm."""
        _check_core(torch.as_tensor(zmatrix), core)
        x = center(frames[:, list(core)].double())
        reference = x[0]
        for _ in range(10):  # of generalised Procrustes analysis; any reference is valid, the mean is a good one
            x = x @ kabsch(x, reference.expand_as(x)).mT
            reference = x.mean(0)
        x = x @ kabsch(x, reference.expand_as(x)).mT
        _check_bent(reference, core)
        rigid = torch.cat((_translations(reference), _rotations(reference)), -1)
        axes = torch.linalg.qr(rigid, mode="complete").Q[:, 6:]
        z = (x - reference).flatten(1) @ axes
        return cls(zmatrix, core, reference, axes @ torch.linalg.eigh(z.T @ z).eigenvectors)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """How many components, bonds, angles and torsions there are."""
        return (self.axes.shape[1], *3 * (len(self.placement.rows),))

    def call_and_ladj(
        self, x: Float[Tensor, "*batch N 3"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        x = x.double()
        core = self._align(center(x.index_select(-2, self.core)))
        z = (core - self.reference).flatten(-2) @ self.axes
        bonds, angles, torsions = self.placement.measure(x)
        return torch.cat((z, bonds, angles, torsions), -1), -self._log_volume(core, bonds, angles)

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch N 3"], Float[Tensor, "*batch"]]:
        z, bonds, angles, torsions = y.double().split(self.sizes, -1)
        core = self.reference + (z @ self.axes.T).unflatten(-1, self.reference.shape)
        return self.placement.place(core, bonds, angles, torsions), self._log_volume(core, bonds, angles)

    def _align(self, core: Tensor) -> Tensor:
        """The centred core turned onto the reference.

        The rotation is found by a decomposition whose gradients fail where singular values meet. Two steps of Newton's
        method for Σ μ × x = 0 carry the gradients instead, exactly to the third order (see `SmoothBump`).
        """
        start = core.detach()
        core = core @ kabsch(start, self.reference.expand_as(start)).mT
        for _ in range(2):
            overlap = self.reference.T @ core
            torque = torch.stack([overlap[..., i - 2, i - 1] - overlap[..., i - 1, i - 2] for i in range(3)], -1)
            turn = torch.linalg.solve(_stiffness(overlap.mT), -torque) / 2
            # Cayley's rotation by about 2 |turn|: rational, hence smooth at zero.
            turn, scale = turn[..., None, :].expand_as(core), 2 / (1 + turn.square().sum(-1))[..., None, None]
            across = torch.linalg.cross(turn, core)
            core = core + scale * (across + torch.linalg.cross(turn, across))
        return core

    def _log_volume(self, core: Tensor, bonds: Tensor, angles: Tensor) -> Tensor:
        stiffness, resting = _stiffness(self.reference.T @ core), _stiffness(self.reference.T @ self.reference)
        log_det = torch.linalg.slogdet(stiffness).logabsdet - torch.linalg.slogdet(resting).logabsdet / 2
        aligned = torch.linalg.cholesky_ex(stiffness.detach()).info == 0
        log_det = torch.where(aligned, log_det + 1.5 * math.log(len(self.core)), -math.inf)
        return log_det + 2 * bonds.log().sum(-1) + angles.sin().log().sum(-1)


def _stiffness(overlap: Tensor) -> Tensor:
    """T = tr H − H: the torque that a small rotation of x brings about."""
    trace = overlap.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    return trace * torch.eye(3, dtype=overlap.dtype, device=overlap.device) - overlap


def _translations(x: Tensor) -> Tensor:
    return torch.eye(3).to(x).repeat(len(x), 1)


def _rotations(x: Tensor) -> Tensor:
    return torch.stack([torch.linalg.cross(axis.expand_as(x), x).flatten() for axis in torch.eye(3).to(x)], -1)


def _check_core(zmatrix: Tensor, core: Sequence[int]) -> None:
    check_zmatrix(zmatrix)
    atoms = set(core)
    missing = sorted(set(zmatrix[:3, 0].tolist()) - atoms)
    if missing:
        raise InputError(f"core lacks atoms {missing} of the first three rows of the Z-matrix: add them")
    if len(atoms) < len(core) or not atoms <= set(range(len(zmatrix))):
        raise InputError(f"core {list(core)}: name distinct atoms of 0 … {len(zmatrix) - 1}")


def _check_bent(reference: Tensor, core: Sequence[int]) -> None:
    """A turn about the line of all atoms moves none of them: there are five rigid motions, and no frame."""
    long, wide, _ = torch.linalg.svdvals(reference.double()).tolist()
    if wide <= _STRAIGHT * long:
        raise InputError(f"core {list(core)}: its atoms lie on a line in the training frames; add one that does not")
