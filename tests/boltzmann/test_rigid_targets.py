"""Rigid bodies: exact constants of the tetrahedron, ice against OpenMM, and the moves that draw from both."""

import math

import numpy as np
import pytest
import torch
from openmm import NonbondedForce, app, unit
from torch import Tensor

from sciflow.boltzmann import OpenMMEnergy
from sciflow.boltzmann.potentials import LogDensity
from sciflow.boltzmann.targets import GAS_CONSTANT, ORDERS, Ice, RigidHMC, Tetrahedron, symmetries, torque, turns_of_so3
from sciflow.errors import InputError
from sciflow.manifolds import SO3
from sciflow.manifolds.quaternion import multiply, rotate
from sciflow.rng import sample_generators

G = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=G, dtype=torch.float64)


def test_quadrature_on_rotations_integrates_polynomials():
    """Products of matrix elements: ∫R_zz² = 8π²/3, ∫R_zz⁴ = 8π²/5, and a rotation more or less changes nothing."""
    q, log_weight = turns_of_so3(8)
    weight, up = log_weight.exp(), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert weight.sum().item() == pytest.approx(8 * math.pi**2)
    for turned in (q, multiply(SO3().random(1, generator=G, dtype=torch.float64), q)):
        height = rotate(turned, up)[:, 2]
        for power, share in ((1, 0.0), (2, 1 / 3), (4, 1 / 5)):
            assert (weight @ height**power).item() == pytest.approx(8 * math.pi**2 * share, abs=1e-11)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_a_dipole_in_a_uniform_field_has_langevins_constant(temperature):
    target = Tetrahedron(cubic=0.0, uniform=(1.0, 2.0, 0.5), temperature=temperature)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)
    dipole = float(np.linalg.norm(np.array(target.charges) @ corners))
    reduced = dipole * math.sqrt(5.25) / temperature
    assert target.log_z == pytest.approx(math.log(8 * math.pi**2 * math.sinh(reduced) / reduced), abs=1e-12)


def test_equal_charges_have_the_twelve_rotations_of_the_tetrahedron():
    target = Tetrahedron(charges=(1.0, 1.0, 1.0, 1.0), uniform=(0.0, 0.0, 0.0))
    q = SO3().random(20, generator=G, dtype=torch.float64)
    half = torch.eye(4, dtype=torch.float64)[1:]
    third = torch.tensor([0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
    for symmetry in (*half, third):
        for turned in (multiply(symmetry, q), multiply(q, symmetry), -q):
            torch.testing.assert_close(target.energy(turned), target.energy(q), atol=1e-13, rtol=0)
    assert target.energy(torch.eye(4, dtype=torch.float64)[:1]).item() == pytest.approx(-4 * target.cubic)


def test_draws_of_the_tetrahedron_have_its_mean_energy_and_constant():
    target = Tetrahedron(cubic=1.0)
    x = target.sample(2000, G)
    q, log_weight = turns_of_so3(32)
    energy, drawn = target.energy(q), target.energy(x)
    mean = (log_weight - energy).softmax(0) @ energy
    assert abs(drawn.mean() - mean) < 5 * drawn.std() / 2000**0.5
    inverse = (drawn + target.log_z).exp() / (8 * math.pi**2)  # E_p[1/p] is the volume
    assert abs(inverse.mean() - 1) < 5 * inverse.std() / 2000**0.5


def test_draws_that_would_take_forever_are_refused():
    """Where a share of 10⁻⁴ of the rotations is kept, between these two: it falls as the volume of a well, T^(3/2)."""
    assert len(Tetrahedron(temperature=0.2).sample(1, G)) == 1
    with pytest.raises(InputError, match=r"temperature=0\.01: 1 of .* would be kept"):
        Tetrahedron(temperature=0.01).sample(1, G)


def test_a_draw_depends_on_its_generator_alone():
    target = Tetrahedron(cubic=0.5)
    whole = target.sample(3, sample_generators(0, 0, 3))
    torch.testing.assert_close(target.sample(1, sample_generators(0, 2, 1)), whole[2:])


def neighbours(ice: Ice) -> tuple[Tensor, Tensor]:
    """Distances of oxygens and, of each proton, the oxygen that it points to, (N, N) and (N, 2)."""
    edges = torch.tensor(ice.box, dtype=torch.float64)
    atoms = ice.atoms(ice.sites)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        d = a[:, None] - b
        return (d - edges * (d / edges).round()).norm(dim=-1)

    oxygens = distance(atoms[:, 0], atoms[:, 0]) + torch.diag(torch.full((len(atoms),), 9.0))
    own = torch.diag(torch.full((len(atoms),), 9.0))
    return oxygens, torch.stack([(distance(atoms[:, k], atoms[:, 0]) + own).argmin(1) for k in (1, 2)], 1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cells", [(2, 1, 1), (2, 2, 2)])
def test_ice_obeys_the_ice_rules(order, cells):
    """Four neighbours at √(3/8)a; two protons given and two taken by each; one on each bond (Bernal & Fowler 1933)."""
    ice = Ice(order=order, cells=cells)
    oxygens, given = neighbours(ice)
    bonded = oxygens < 1.2 * oxygens.min()
    assert oxygens[bonded].sub(math.sqrt(3 / 8) * ice.a).abs().max() < 1e-12
    assert (bonded.sum(1) == 4).all()
    assert (torch.bincount(given.flatten(), minlength=ice.molecules) == 2).all()
    giver = torch.arange(ice.molecules)[:, None].expand_as(given)
    assert bonded[giver, given].all()
    bonds = {frozenset((int(i), int(j))) for i, j in zip(giver.flatten(), given.flatten(), strict=True)}
    assert len(bonds) == 2 * ice.molecules


def test_dipole_moments():
    """Of the ferroelectric order along c alone; none of the other."""
    for order, along_c in (("ferroelectric", True), ("antiferroelectric", False)):
        ice = Ice(order=order)
        charges = torch.cat((torch.zeros(1, dtype=torch.float64), ice.water.charges))
        dipole = torch.einsum("s,nsk->k", charges, ice.atoms(ice.sites))
        assert dipole[:2].abs().max() < 1e-12
        assert (abs(dipole[2]) > 0.1) == along_c


def jittered(ice: Ice, n: int, place: float = 0.01, turn: float = 0.15) -> Tensor:
    x = ice.sites.repeat(n, 1, 1)
    q = SO3().expmap(x[..., 3:], turn * normal(n, ice.molecules, 3))
    return torch.cat((x[..., :3] + place * normal(n, ice.molecules, 3), q), -1)


def openmm_water(ice: Ice) -> OpenMMEnergy:
    """The same crystal by OpenMM's own force field file, which our constants do not come from."""
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(ice.molecules):
        residue = topology.addResidue("HOH", chain)
        o, h, k = (
            topology.addAtom(name, element, residue)
            for name, element in (("O", app.element.oxygen), ("H1", app.element.hydrogen), ("H2", app.element.hydrogen))
        )
        topology.addAtom("M", None, residue)
        topology.addBond(o, h)
        topology.addBond(o, k)
    topology.setUnitCellDimensions(ice.box * unit.nanometer)
    system = app.ForceField("tip4pew.xml").createSystem(
        topology, nonbondedMethod=app.Ewald, nonbondedCutoff=ice.reach * (1 - 1e-9), ewaldErrorTolerance=ice.tolerance
    )
    nonbonded = next(force for force in system.getForces() if isinstance(force, NonbondedForce))
    nonbonded.setUseSwitchingFunction(ice.switch < 1)
    nonbonded.setSwitchingDistance(ice.switch * ice.reach)
    return OpenMMEnergy(system, ice.temperature)


@pytest.mark.parametrize("switch", [0.9, 0.6, 1.0])
@pytest.mark.parametrize("order", ORDERS)
def test_ice_has_openmms_energy(order, switch):
    """Both sums leave out the share that the tolerance allows; molecules turned by 15° and moved by 10 pm are hot."""
    ice = Ice(order=order, switch=switch)
    x = jittered(ice, 8)
    reference = openmm_water(ice).energy(ice.atoms(x).flatten(1, 2))
    torch.testing.assert_close(ice.energy(x), reference, rtol=1e-6, atol=0)


def test_ice_does_not_mind_moving_together_images_and_signs():
    ice = Ice()
    x = jittered(ice, 2)
    moved, image, sign = x.clone(), x.clone(), x.clone()
    moved[..., :3] += torch.tensor([0.1, -0.05, 0.2], dtype=torch.float64)
    image[:, 3, :3] += torch.tensor([ice.box[0], 0.0, -2 * ice.box[2]], dtype=torch.float64)
    sign[:, 5, 3:] *= -1
    for other in (moved, image, sign, ice.pinned(moved)):
        torch.testing.assert_close(ice.energy(other), ice.energy(x), rtol=1e-10, atol=0)
    assert (ice.pinned(moved)[:, 0, :3] - ice.sites[0, :3]).abs().max() < 1e-15


@pytest.mark.parametrize(("order", "number"), [("ferroelectric", 16), ("antiferroelectric", 8)])
def test_symmetries_of_ice_keep_its_energy(order, number):
    """Cmc2₁ has 8 operations in a cell, centring included, and there are two cells; the other order has half of it."""
    ice = Ice(order=order)
    x = ice.pinned(jittered(ice, 2))
    found = symmetries(ice)
    assert len(found) == number
    images = torch.stack([motion(ice, x) for motion in found])
    torch.testing.assert_close(ice.energy(images.flatten(0, 1)), ice.energy(x).repeat(number), rtol=1e-10, atol=0)
    assert (images[..., :3] - ice.sites[:, :3]).abs().max() < 0.1  # each at its site,
    assert SO3().dist(images[..., 3:], ice.sites[:, 3:]).max() < 1.2  # with the name that is the nearest to it
    assert SO3().dist(images[0, ..., 3:], x[..., 3:]).max() < 1e-7
    others = images[1:, ..., :3] - images[:1, ..., :3]
    assert (others.abs().amax((1, 2, 3)) > 1e-3).all()


def test_ewalds_sum_does_not_depend_on_how_it_is_split():
    """α follows from the tolerance: at 1e-9 it is a fifth larger than at 1e-6. Each sum is ten times the total."""
    x = jittered(Ice(), 3)
    torch.testing.assert_close(Ice(tolerance=1e-9).energy(x), Ice(tolerance=1e-6).energy(x), rtol=1e-5, atol=0)


def test_forces_and_torques_are_derivatives_along_rigid_motions():
    ice = Ice()
    x = jittered(ice, 2)
    pull = torque(x, ice.energy_and_force(x)[1])
    u, h = normal(2, ice.molecules, 6) * torch.tensor([0.01] * 3 + [0.1] * 3), 1e-4
    ends = [
        ice.energy(torch.cat((x[..., :3] + s * u[..., :3], SO3().expmap(x[..., 3:], s * u[..., 3:])), -1))
        for s in (h, -h)
    ]
    slope = (ends[0] - ends[1]) / (2 * h)
    torch.testing.assert_close(slope, -(pull * u).sum((1, 2)), rtol=1e-5, atol=1e-3)  # of third order in h


def test_hmc_of_rigid_bodies_draws_dipoles_on_springs():
    """⟨r²⟩ = 3 and ⟨cos⟩ = coth E − 1/E (Langevin), from places and turns that do not know of each other."""
    field = 2.0
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)

    def log_prob(x: Tensor) -> Tensor:
        turned = rotate(torch.nn.functional.normalize(x[..., 3:], dim=-1), up)
        return (-x[..., :3].square().sum(-1) / 2 + field * turned[..., 2]).sum(-1)

    n = 500
    x = torch.cat((normal(n, 2, 3), SO3().random(n, 2, generator=G, dtype=torch.float64)), -1)
    move = RigidHMC(size=0.5, turn=1.2, leapfrogs=4).run(x, LogDensity(log_prob), 25, G)
    assert 0.5 < move.accepted.mean() < 0.99  # else the test of acceptance is not tested
    r = move.x[..., :3].square().sum(-1).flatten()
    cosine = rotate(move.x[..., 3:], up)[..., 2].flatten()
    assert abs(r.mean() - 3) < 5 * r.std() / len(r) ** 0.5
    assert abs(cosine.mean() - (1 / math.tanh(field) - 1 / field)) < 5 * cosine.std() / len(r) ** 0.5


def test_temperatures_are_kelvin():
    ice, x = Ice(temperature=100.0), jittered(Ice(), 2)
    torch.testing.assert_close(ice.energy(x) * 100 * GAS_CONSTANT, ice.kilojoules(x))
    torch.testing.assert_close(ice.at(250.0).energy(x) * 2.5, ice.energy(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "none"}, "ferroelectric"),
        ({"cells": (0, 1, 1)}, "at least once"),
        ({"cutoff": 0.5}, "beyond half"),
        ({"switch": 0.0}, "switch=0.0"),
    ],
)
def test_crystals_that_are_none_are_refused(settings, message):
    with pytest.raises(InputError, match=message) as error:
        Ice(**settings)
    assert "\n" not in str(error.value)
