"""Bonds, angles and torsions: the coordinates in which a molecule's energy is almost separable."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints

from ..errors import InputError
from .placement import Placement, bend
from .transform import ModuleTransform

__all__ = ["InternalCoordinates", "check_zmatrix"]


class InternalCoordinates(ModuleTransform):
    r"""Cartesian (…, N, 3) in nm to internal coordinates (…, 3N−6): N−1 bonds (nm), N−2 angles, N−3 torsions (rad).

    Row ``(i, j, k, l)`` of the Z-matrix places atom ``i`` at distance b from ``j``, angle a at ``j`` to ``k``, and
    torsion τ ∈ (−π, π] about the axis j–k to ``l`` (IUPAC sign). ``l`` may be bonded to ``k`` (a proper torsion) or to
    ``j`` (a *sibling* of ``i``: a relative improper). Mirror images differ by the sign of every torsion.

    The map forgets where the molecule is and how it is turned: ``inv`` puts the first row's atom at the origin, the
    second's on the positive x axis, the third's in the xy plane with y > 0.

    **Measure.** With x₀ the first atom and R the rotation from that frame, Cartesian volume is

    .. math:: d^{3N}x = d^3x_0 \; dR \; \prod_{i \ge 1} b_i^2 \prod_{i \ge 2} \sin a_i \; db \, da \, d\tau,

    dR the Haar measure of total volume 8π². The log-determinant is :math:`-\sum 2 \log b_i - \sum \log \sin a_i`: the
    density of a flow through this map is with respect to Cartesian volume *modulo rigid motions*,
    :math:`d^{3N}x / (d^3x_0\,dR)`, which is what exp(−U/kT) must be divided by. (The Jacobian of the frame-fixed
    Cartesians lacks the factor b₁² b₂ sin a₂ of the first two bonds, which does depend on x and would bias weights.)
    With Z_c the full configuration integral, the normaliser found this way is Z_c / (8π² V).

    Args:
        zmatrix: LongTensor (N, 4) of atom indices, each row's references placed by rows above; the first three rows are
            padded with −1: (i, −1, −1, −1), (i, j, −1, −1), (i, j, k, −1).

    Raises:
        InputError: if the Z-matrix does not describe a molecule that way.

    Computes in float64 whatever the dtype of x. Bonds must be positive and angles inside (0, π).

    Source: Go & Scheraga, Macromolecules 9 (1976) 535; Parsons et al., J. Comput. Chem. 26 (2005) 1063 (placement).
    """

    domain = constraints.independent(constraints.real, 2)

    zmatrix: Tensor

    def __init__(self, zmatrix: Tensor) -> None:
        super().__init__()
        zmatrix = torch.as_tensor(zmatrix, dtype=torch.long)
        check_zmatrix(zmatrix)
        self.third_from_first = bool(zmatrix[2, 1] == zmatrix[0, 0])
        self.register_buffer("zmatrix", zmatrix, persistent=False)
        self.placement = Placement(zmatrix[:3, 0].tolist(), zmatrix[3:])

    @property
    def n_atoms(self) -> int:
        """N."""
        return self.zmatrix.shape[0]

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """How many other numbers, bonds, angles and torsions there are."""
        return 0, self.n_atoms - 1, self.n_atoms - 2, self.n_atoms - 3

    def call_and_ladj(
        self, x: Float[Tensor, "*batch N 3"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        x = x.double()
        atom, bonded, angle, _ = self.zmatrix[1:3].unbind(-1)
        u = x[..., atom, :] - x[..., bonded, :]
        axis = x[..., angle[1:], :] - x[..., bonded[1:], :]
        bonds, angles, torsions = self.placement.measure(x)
        bonds = torch.cat((torch.linalg.vector_norm(u, dim=-1), bonds), -1)
        angles = torch.cat((bend(axis, u[..., 1:, :]), angles), -1)
        return torch.cat((bonds, angles, torsions), -1), -_log_volume(bonds, angles)

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch N 3"], Float[Tensor, "*batch"]]:
        _, bonds, angles, torsions = y.double().split(self.sizes, -1)
        core = self._first_three(bonds[..., 0], bonds[..., 1], angles[..., 0])
        x = self.placement.place(core, bonds[..., 2:], angles[..., 1:], torsions)
        return x, _log_volume(bonds, angles)

    def _first_three(self, first: Tensor, second: Tensor, angle: Tensor) -> Tensor:
        zero = torch.zeros_like(first)
        along = second * angle.cos()
        third = torch.stack((along if self.third_from_first else first - along, second * angle.sin(), zero), -1)
        return torch.stack((torch.zeros_like(third), torch.stack((first, zero, zero), -1), third), -2)


def _log_volume(bonds: Tensor, angles: Tensor) -> Tensor:
    return 2 * bonds.log().sum(-1) + angles.sin().log().sum(-1)


def check_zmatrix(zmatrix: Tensor) -> None:
    """Raise InputError unless each row of (N, 4) places one atom by atoms of rows above."""
    if zmatrix.ndim != 2 or zmatrix.shape[1] != 4 or zmatrix.shape[0] < 3:
        raise InputError(f"Z-matrix of shape {tuple(zmatrix.shape)}: give (N, 4) with at least 3 atoms")
    if sorted(zmatrix[:, 0].tolist()) != list(range(len(zmatrix))):
        raise InputError(f"Z-matrix places atoms {zmatrix[:, 0].tolist()}: place each of 0 … {len(zmatrix) - 1} once")
    placed: set[int] = set()
    for n, (atom, *references) in enumerate(zmatrix.tolist()):
        used = references[: min(n, 3)]
        if any(r != -1 for r in references[n:]):
            raise InputError(f"Z-matrix row {n} has references {references}: pad the first three rows with -1")
        if len(set(used)) < len(used) or not placed.issuperset(used):
            raise InputError(f"Z-matrix row {n} (atom {atom}) refers to {used}: name distinct atoms of rows above")
        placed.add(atom)
