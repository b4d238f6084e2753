"""Proton-ordered hexagonal ice of rigid water."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ...errors import InputError
from ...manifolds.quaternion import from_matrix
from .base import Target
from .ewald import Ewald, lennard_jones, lennard_jones_tail
from .rigid import place

__all__ = ["GAS_CONSTANT", "ORDERS", "TIP4PEW", "Ice", "RigidWater", "lattice"]

GAS_CONSTANT = 0.00831446261815324  # kJ/mol/K


@dataclass(frozen=True)
class RigidWater:
    """A rigid four-site water: O, two H, and a charge M on their bisector. nm, e, kJ/mol."""

    bond: float
    angle: float
    charge_site: float
    hydrogen: float
    sigma: float
    epsilon: float

    @property
    def body(self) -> Tensor:
        """Sites O, H, H, M (4, 3): O at the origin, the bisector along z, the molecule in the plane of x and z."""
        x, z = self.bond * math.sin(self.angle / 2), self.bond * math.cos(self.angle / 2)
        return torch.tensor([[0, 0, 0], [x, 0, z], [-x, 0, z], [0, 0, self.charge_site]], dtype=torch.float64)

    @property
    def charges(self) -> Tensor:
        """Of H, H, M (3,)."""
        return torch.tensor([self.hydrogen, self.hydrogen, -2 * self.hydrogen], dtype=torch.float64)


# Horn et al. 2004, https://doi.org/10.1063/1.1683075; M where the weights of OpenMM's tip4pew.xml place it.
TIP4PEW = RigidWater(
    bond=0.09572,
    angle=1.82421813418,
    charge_site=2 * 0.106676721 * 0.09572 * math.cos(1.82421813418 / 2),
    hydrogen=0.52422,
    sigma=0.316435,
    epsilon=0.680946,
)

ORDERS = ("ferroelectric", "antiferroelectric")
LATTICE = 0.44923  # nm, a of the published boxes


@dataclass(frozen=True)
class Ice(Target):
    r"""Hexagonal ice with ordered protons: N rigid waters x (B, N, 7) in an orthorhombic periodic box, of volume fixed.

    A body is the place of its oxygen (nm) and its orientation as a quaternion, w first; temperatures are in kelvin.
    Energies do not change when all bodies move together: the density is that of crystals whose body 0 stays at its site
    (`pinned`), with respect to :math:`\prod_{i \ge 1} d^3x_i \prod_i dR_i`, dR the Haar measure of volume 8π². How a
    crystal is pinned changes log Z by a constant that no temperature changes.

    **Potential.** TIP4P-Ew; Lennard-Jones between nearest images, switched off from ``switch·cutoff`` to ``cutoff``,
    with the homogeneous correction of what that leaves out (OpenMM's, which averages over all pairs of sites, also with
    themselves); Ewald's sum to ``tolerance``. It is that of OpenMM with ``NonbondedForce.Ewald``. In a box of 16
    molecules the cutoff lies between the first and the second neighbours: where it begins is worth 0.3 kJ/mol of each.

    **Orders.** Oxygens are those of hexagonal ice in the ideal cell (a, √3a, √(8/3)a) of eight molecules.
    ``ferroelectric`` is ice XI, Cmc2₁ (Leadbetter et al. 1985, https://doi.org/10.1063/1.448763): molecules whose
    bond along c points up give their protons to it and to the bond in the mirror plane, the others to both bonds
    across it. ``antiferroelectric`` has the same oxygens and no dipole moment: layers with moments along +a and −a in
    turn. It is what the boxes published as ice XI by Köhler et al. 2023 (arXiv:2301.11355) hold, as their donors and
    acceptors show.

    Args:
        order: of the protons.
        cells: repeats of the cell along a, b and c; (2, 1, 1) is N = 16.
        a: lattice constant in nm.
        water: model.
        cutoff: in nm; half of the shortest edge where it is not given.
        switch: where Lennard-Jones begins to be switched off, as a fraction of the cutoff; 1 is a sharp cutoff.
        tolerance: of Ewald's sum.
    """

    order: str = "ferroelectric"
    cells: tuple[int, int, int] = (2, 1, 1)
    a: float = LATTICE
    water: RigidWater = TIP4PEW
    cutoff: float | None = None
    switch: float = 0.9
    tolerance: float = 1e-6
    temperature: float = field(default=250.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in ORDERS:
            raise InputError(f"order={self.order!r} is no order of the protons: use one of {', '.join(ORDERS)}")
        if min(self.cells) < 1:
            raise InputError(f"cells={self.cells}: repeat the cell at least once each way")
        if self.reach > min(self.box) / 2:
            raise InputError(f"cutoff={self.cutoff} is beyond half of the shortest edge, {min(self.box) / 2:.4f} nm")
        if not 0 < self.switch <= 1:
            raise InputError(f"switch={self.switch}: give a fraction of the cutoff above 0, or 1 for a sharp cutoff")

    @property
    def box(self) -> tuple[float, float, float]:
        """Edges in nm."""
        n, m, k = self.cells
        return n * self.a, m * math.sqrt(3) * self.a, k * math.sqrt(8 / 3) * self.a

    @property
    def molecules(self) -> int:
        """N."""
        return 8 * math.prod(self.cells)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.molecules, 7)

    @property
    def dof(self) -> int:
        return 6 * self.molecules - 3

    @property
    def reach(self) -> float:
        """The cutoff in nm."""
        return min(self.box) / 2 if self.cutoff is None else self.cutoff

    @cached_property
    def sites(self) -> Tensor:
        """The perfect crystal (N, 7) in float64: oxygens, and molecules whose bisector is that of their two bonds."""
        return lattice(self.order, self.cells, self.a)

    def pinned(self, x: Tensor) -> Tensor:
        """Crystals moved as a whole such that body 0 is at its site."""
        shift = self.sites[0, :3].to(x) - x[..., :1, :3]
        return torch.cat((x[..., :3] + shift, x[..., 3:]), -1)

    def atoms(self, x: Tensor) -> Tensor:
        """O, H, H and M of every molecule, (…, N, 4, 3) in nm."""
        return place(x, self.water.body)

    def potential(self, x: Tensor) -> Tensor:
        """U/k in kelvin, (B,): the potential at a temperature of one."""
        return self.kilojoules(x) / GAS_CONSTANT

    def kilojoules(self, x: Tensor) -> Tensor:
        """U (B,) in kJ/mol."""
        q = x[..., 3:] / torch.linalg.vector_norm(x[..., 3:], dim=-1, keepdim=True)
        atoms = self.atoms(torch.cat((x[..., :3], q), -1))
        water = self.water
        contact = lennard_jones(
            atoms[..., 0, :], self.box, water.sigma, water.epsilon, self.reach, self.switch * self.reach
        )
        return contact + self._ewald(atoms[..., 1:, :].flatten(-3, -2)) + self._tail

    @cached_property
    def _ewald(self) -> Ewald:
        water = self.water
        return Ewald(self.box, water.charges, water.body[1:], self.molecules, self.reach, self.tolerance)

    @cached_property
    def _tail(self) -> float:
        """Lennard-Jones energy that the cutoff leaves out of a homogeneous fluid, in kJ/mol."""
        n, all_sites = self.molecules, 4 * self.molecules
        share = n * (n + 1) / (all_sites * (all_sites + 1))
        left_out = lennard_jones_tail(self.water.sigma, self.water.epsilon, self.reach, self.switch * self.reach)
        return 2 * math.pi * all_sites**2 * share * left_out / math.prod(self.box)


def lattice(order: str, cells: tuple[int, int, int], a: float = LATTICE) -> Tensor:
    """Bodies (N, 7) of the perfect crystal, see `Ice`."""
    cell = torch.tensor([a, math.sqrt(3) * a, math.sqrt(8 / 3) * a], dtype=torch.float64)
    grid = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in cells)).reshape(-1, 1, 3)
    places, turns = [], []
    for layer, up, right in ((layer, up, right) for layer in (0, 1) for up in (False, True) for right in (False, True)):
        # Bonds go up from 1/16 and 9/16, and down from 7/16 and 15/16; molecules that look up in a layer look down in
        # the next.
        y = (2 / 3 if up != bool(layer) else 1 / 3) if not right else (1 / 6 if up != bool(layer) else 5 / 6)
        height = layer / 2 + (1 / 16 if up else -1 / 16)
        places.append(torch.tensor([right / 2, y, height], dtype=torch.float64))
        across = -1 if up != bool(layer) else 1  # of the mirror plane's bond along b
        sign = 1 if up else -1
        bonds = {
            "c": (0.0, 0.0, 3 / 8 * sign),
            "m": (0.0, across / 3, -sign / 8),
            "+": (0.5, -across / 6, -sign / 8),
            "-": (-0.5, -across / 6, -sign / 8),
        }
        given = torch.tensor([bonds[bond] for bond in _given(order, layer, up, right)], dtype=torch.float64) * cell
        first, second = torch.nn.functional.normalize(given, dim=-1)
        z, x = (torch.nn.functional.normalize(v, dim=0) for v in (first + second, first - second))
        turns.append(from_matrix(torch.stack((x, torch.linalg.cross(z, x), z), -1)))
    oxygens = (torch.stack(places) % 1 + grid).flatten(0, 1) * cell
    return torch.cat((oxygens, torch.stack(turns).repeat(len(grid), 1)), -1)


def _given(order: str, layer: int, up: bool, right: bool) -> str:
    """The two bonds of a molecule with its own protons: c along the axis, m in the mirror plane, + and − across."""
    if order == "ferroelectric":
        return "cm" if up else "+-"
    return ("c" if up != right else "m") + ("+" if layer == 0 else "-")
