"""The force field in torch against OpenMM's Reference platform, which is in double precision too."""

import math

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit
from openmm.app.internal.customgbforces import GBSAGBnForce, GBSAHCTForce, GBSAOBC1Force, GBSAOBC2Force
from torch.autograd import gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx

from sciflow.boltzmann import OpenMMEnergy, TorchForceField
from sciflow.errors import InputError
from sciflow.molecules.system import from_sequence
from sciflow.rng import normal, step_generator, uniform

PEPTIDES = [
    ("ACE-ALA-NME", ("amber99sbildn.xml", "amber99_obc.xml")),
    ("ACE-ALA-NME", ("amber96.xml", "implicit/obc1.xml")),
    ("ACE-ASP-PRO-NME", ("amber14/protein.ff14SB.xml", "implicit/obc2.xml")),  # charged, with a ring
    ("ACE-ALA-GLY-NME", ("amber19/protein.ff19SB.xml", "implicit/obc1.xml")),  # two correction maps
    ("ACE-ALA-ALA-ALA-ALA-NME", ("amber99sbildn.xml", "amber99_obc.xml")),
]
N = 10


def hot_frames(field: TorchForceField, start: np.ndarray, n: int = 6) -> torch.Tensor:
    """Frames ``(n, N, 3)`` of overdamped motion at 600 K."""
    hot, generator = field.at(600.0), step_generator(0)
    x = torch.as_tensor(start).expand(n, -1, -1)
    for _ in range(150):
        x = (
            x
            + 2e-6 * hot.energy_and_force(x)[1]
            + math.sqrt(4e-6) * normal(*x.shape, generator=generator, dtype=x.dtype)
        )
    return x


def assert_same(system: openmm.System, x: torch.Tensor) -> None:
    """Energies to 1e-9 kJ/mol and forces to 1e-9 of the largest: both are rounding, some 1e5 times over."""
    field, reference = TorchForceField.from_openmm(system), OpenMMEnergy(system, 300.0)
    energy, force = field.energy_and_force(x)
    expected, expected_force = reference.energy_and_force(x)
    assert expected.isfinite().all()
    torch.testing.assert_close(energy, expected, atol=1e-9 / field.kt, rtol=1e-12)
    torch.testing.assert_close(force, expected_force, atol=1e-9 * float(expected_force.abs().max()), rtol=0)
    torch.testing.assert_close(field.potential_energy(x), energy * field.kt)


@pytest.mark.parametrize(("sequence", "forcefield"), PEPTIDES)
def test_peptides_have_the_energies_and_forces_of_openmm(sequence, forcefield):
    molecule = from_sequence(sequence, forcefield)
    x = hot_frames(TorchForceField.from_openmm(molecule.system), molecule.positions)
    assert_same(molecule.system, x)


def test_cutoffs_on_a_peptide_too():
    molecule = from_sequence("ACE-ALA-NME")
    field = app.ForceField("amber14/protein.ff14SB.xml", "implicit/obc2.xml")
    system = field.createSystem(
        molecule.topology, nonbondedMethod=app.CutoffNonPeriodic, nonbondedCutoff=0.6 * unit.nanometer
    )
    assert_same(system, hot_frames(TorchForceField.from_openmm(system), molecule.positions, 3))


def test_charmm_with_its_tables_of_types():
    molecule = from_sequence("ALA-GLY")
    system = app.ForceField("charmm36.xml", "implicit/obc2.xml").createSystem(molecule.topology)
    assert_same(system, hot_frames(TorchForceField.from_openmm(system), molecule.positions, 3))


# ---- random atoms: every option, at distances that no molecule has


def atoms(seed: int = 0, spread: float = 0.25) -> torch.Tensor:
    """``(8, N, 3)`` nm, no two of them closer than 0.02 nm."""
    generator = step_generator(seed)
    x = spread * normal(400, N, 3, generator=generator, dtype=torch.float64)
    apart = (torch.cdist(x, x) + torch.eye(N)).flatten(1).min(1).values > 0.02
    return x[apart][:8]


def system_of(*forces: openmm.Force) -> openmm.System:
    system = openmm.System()
    for i in range(N):
        system.addParticle(1.0 + i)
    for force in forces:
        system.addForce(force)
    return system


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    return uniform(*shape, generator=step_generator(seed), dtype=torch.float64).numpy()


def quadruples() -> list[list[int]]:
    return [np.random.default_rng(i).permutation(N)[:4].tolist() for i in range(12)]


def nonbonded(cutoff: float | None = None, dielectric: float = 78.3) -> openmm.NonbondedForce:
    force = openmm.NonbondedForce()
    for charge, sigma, epsilon in numbers(N, 3):
        force.addParticle(charge - 0.5, 0.01 + 0.1 * sigma, epsilon)
    force.addException(0, 1, 0, 0.1, 0)
    force.addException(2, 5, 0.3, 0.05, 0.4)
    force.addException(3, 4, -0.2, 0.1, 0)
    if cutoff is not None:
        force.setNonbondedMethod(openmm.NonbondedForce.CutoffNonPeriodic)
        force.setCutoffDistance(cutoff)
        force.setReactionFieldDielectric(dielectric)
    return force


def born(cutoff: float | None = None) -> openmm.GBSAOBCForce:
    force = openmm.GBSAOBCForce()
    for charge, radius, scale in numbers(N, 3):
        force.addParticle(charge - 0.5, 0.1 + 0.1 * radius, 0.7 + 0.2 * scale)
    if cutoff is not None:
        force.setNonbondedMethod(openmm.GBSAOBCForce.CutoffNonPeriodic)
        force.setCutoffDistance(cutoff)
    return force


def custom_born(kind: type, cutoff: float | None = None, **options) -> openmm.CustomGBForce:
    force = kind(cutoff=cutoff, **options)
    for charge, radius, scale in numbers(N, 3):
        force.addParticle([charge - 0.5, 0.1 + 0.1 * radius, 0.7 + 0.2 * scale])
    force.finalize()
    if cutoff is not None:
        force.setNonbondedMethod(openmm.CustomGBForce.CutoffNonPeriodic)
        force.setCutoffDistance(cutoff)
    return force


def bonds() -> openmm.HarmonicBondForce:
    force = openmm.HarmonicBondForce()
    for i in range(N - 1):
        force.addBond(i, i + 1, 0.1, 2e5)
    return force


def angles() -> openmm.HarmonicAngleForce:
    force = openmm.HarmonicAngleForce()
    for i in range(N - 2):
        force.addAngle(i, i + 1, i + 2, 1.9 + 0.1 * i, 400.0)
    return force


def periodic_torsions() -> openmm.PeriodicTorsionForce:
    force = openmm.PeriodicTorsionForce()
    for i, four in enumerate(quadruples()):
        for n in (1, 2, 3, 6)[: 1 + i % 4]:
            force.addTorsion(*four, n, 0.7 * i, 1.0 + n)
    return force


def ryckaert_bellemans() -> openmm.RBTorsionForce:
    force = openmm.RBTorsionForce()
    for four, c in zip(quadruples(), numbers(12, 6) - 0.5, strict=True):
        force.addTorsion(*four, *c)
    return force


def correction_maps() -> openmm.CMAPTorsionForce:
    force = openmm.CMAPTorsionForce()
    for k in range(2):
        force.addMap(12, list(20 * numbers(144, seed=k) - 10))
    fours = quadruples()
    for i in range(6):
        force.addTorsion(i % 2, *fours[2 * i], *fours[2 * i + 1])
    return force


def impropers() -> openmm.CustomTorsionForce:
    force = openmm.CustomTorsionForce("k*(theta-theta0)^2")
    force.addPerTorsionParameter("k")
    force.addPerTorsionParameter("theta0")
    for i, four in enumerate(quadruples()):
        force.addTorsion(*four, [10.0 + i, 0.3 * i - 2])
    return force


def lennard_jones_14() -> openmm.CustomBondForce:
    force = openmm.CustomBondForce("4*epsilon*((sigma/r)^12-(sigma/r)^6)")
    force.addPerBondParameter("sigma")
    force.addPerBondParameter("epsilon")
    for i, (sigma, epsilon) in enumerate(numbers(6, 2)):
        force.addBond(i, i + 3, [0.01 + 0.1 * sigma, epsilon])
    return force


def lennard_jones_by_types(cutoff: float | None = None) -> openmm.CustomNonbondedForce:
    force = openmm.CustomNonbondedForce("acoef(type1, type2)/r^12 - bcoef(type1, type2)/r^6")
    force.addPerParticleParameter("type")
    for k, name in enumerate(("acoef", "bcoef")):
        coefficients = numbers(3, 3, seed=k)
        values = (coefficients + coefficients.T) * 1e-4 ** (2 - k)
        force.addTabulatedFunction(name, openmm.Discrete2DFunction(3, 3, values.flatten().tolist()))
    for i in range(N):
        force.addParticle([i % 3])
    force.addExclusion(0, 4)
    if cutoff is not None:
        force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffNonPeriodic)
        force.setCutoffDistance(cutoff)
    return force


OPTIONS = {
    "impropers": (impropers,),
    "Lennard-Jones 1-4": (lennard_jones_14,),
    "Lennard-Jones by types": (nonbonded, lennard_jones_by_types),
    "Lennard-Jones by types, cut off": (lambda: lennard_jones_by_types(0.4),),
    "bonds": (bonds,),
    "angles": (angles,),
    "torsions": (periodic_torsions,),
    "Ryckaert-Bellemans and periodic": (ryckaert_bellemans, periodic_torsions),
    "maps": (correction_maps,),
    "pairs": (nonbonded,),
    "reaction field": (lambda: nonbonded(0.4),),
    "no reaction field": (lambda: nonbonded(0.4, 1.0),),
    "GBSAOBC": (nonbonded, born),
    "GBSAOBC cut off": (lambda: nonbonded(0.4), lambda: born(0.4)),
    "OBC1": (lambda: custom_born(GBSAOBC1Force),),
    "OBC2 with a surface": (lambda: custom_born(GBSAOBC2Force, SA="ACE"),),
    "OBC1 cut off": (lambda: custom_born(GBSAOBC1Force, 0.4, SA="ACE"),),
    "OBC2 in salt": (lambda: custom_born(GBSAOBC2Force, kappa=2.0, soluteDielectric=2.0, solventDielectric=40.0),),
    "OBC1 in salt, cut off": (lambda: custom_born(GBSAOBC1Force, 0.4, kappa=2.0),),
    "two of a kind": (bonds, bonds, openmm.CMMotionRemover),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_term_and_option_alone(name):
    system = system_of(*(make() for make in OPTIONS[name]))
    assert_same(system, atoms())
    if "OBC" in name:
        assert_same(system, atoms(spread=0.05))  # atoms inside each other's spheres


# ---- derivatives


def everything() -> openmm.System:
    return system_of(bonds(), angles(), periodic_torsions(), correction_maps(), nonbonded(), born())


def test_the_force_is_the_slope_of_the_energy_and_has_one_itself():
    field = TorchForceField.from_openmm(everything())
    x = atoms(spread=0.5)[:2].requires_grad_()
    assert gradcheck(field.energy, x, eps=1e-7, rtol=1e-4, atol=1e-3)
    scale = 1e-3  # curvatures reach 1e6 kT/nm²
    assert gradgradcheck(lambda z: scale * field.energy(z), x, eps=1e-7, rtol=1e-4, atol=1e-2)
    energy, force = field.energy_and_force(x)
    assert not energy.requires_grad
    assert not force.requires_grad
    (gradient,) = torch.autograd.grad(field.energy(x).sum(), x)
    torch.testing.assert_close(gradient, -force)


def test_the_written_forces_are_what_autograd_finds():
    field = TorchForceField.from_openmm(everything())
    x = atoms()[:3].permute(2, 1, 0).contiguous().requires_grad_()
    energy, gradient = field(x)
    torch.testing.assert_close(torch.autograd.grad(energy.sum(), x)[0], gradient, rtol=1e-9, atol=1e-6)


def test_atoms_on_a_line_have_finite_forces():
    field = TorchForceField.from_openmm(system_of(angles(), periodic_torsions(), correction_maps()))
    x = torch.zeros(1, N, 3, dtype=torch.float64)
    x[0, :, 0] = torch.arange(N) * 0.1
    energy, force = field.energy_and_force(x)
    assert energy.isfinite().all()
    assert force.isfinite().all()


def test_a_frame_without_an_energy_has_no_weight_and_harms_no_other():
    field = TorchForceField.from_openmm(everything())
    x = atoms()
    expected, expected_force = field.energy_and_force(x)
    x[1], x[2, 0, 0] = 0, torch.nan
    energy, force = field.energy_and_force(x)
    others = [0, 3, 4, 5, 6, 7]
    torch.testing.assert_close((energy[others], force[others]), (expected[others], expected_force[others]))
    assert energy[[1, 2]].isposinf().all()
    assert not force[[1, 2]].any()


# ---- one field, many ways to call it


def test_a_frame_has_its_energy_whatever_the_batch():
    field = TorchForceField.from_openmm(everything())
    x = atoms().repeat(200, 1, 1)  # several pieces
    energy, force = field.energy_and_force(x)
    alone = [field.energy_and_force(x[i : i + 1]) for i in range(8)]
    torch.testing.assert_close(energy, torch.cat([e for e, _ in alone]).repeat(200), rtol=1e-12, atol=0)
    torch.testing.assert_close(force, torch.cat([f for _, f in alone]).repeat(200, 1, 1))
    assert field.energy(x[:0]).shape == (0,)


def test_temperature_divides():
    field = TorchForceField.from_openmm(everything())
    x = atoms()
    torch.testing.assert_close(field.at(600.0).energy(x), field.energy(x) / 2)
    torch.testing.assert_close(field.energy(x), field.potential_energy(x) / (8.31446261815324e-3 * 300))
    assert field.temperature == 300.0
    assert field.masses.tolist() == [1.0 + i for i in range(N)]


def test_single_precision_is_close_and_results_have_the_dtype_of_the_frames():
    molecule = from_sequence("ACE-ALA-NME")
    double = TorchForceField.from_openmm(molecule.system)
    single = TorchForceField.from_openmm(molecule.system, dtype=torch.float32)
    x = hot_frames(double, molecule.positions)
    energy, force = single.energy_and_force(x.float())
    assert energy.dtype == force.dtype == torch.float32
    assert double.energy(x.float()).dtype == torch.float32
    # sums of terms of some 1e3 kJ/mol in 24 bits
    torch.testing.assert_close(energy.double(), double.energy(x), rtol=0, atol=2e-3)
    torch.testing.assert_close(force.double(), double.energy_and_force(x)[1], rtol=1e-3, atol=0.1)


def test_the_traced_graph_is_the_field():
    """What a compiler sees on a GPU: pointwise operations, gathers and sums, no branch on the data."""
    field = TorchForceField.from_openmm(everything())
    x = atoms().permute(2, 1, 0).contiguous()
    graph = make_fx(lambda z: field(z))(x[..., :3].contiguous())
    other = x[..., 3:6].contiguous()
    torch.testing.assert_close(graph(other), field(other))
    scattering = [
        node for node in graph.graph.nodes if "index_put" in str(node.target) or "index_add" in str(node.target)
    ]
    assert not scattering


@pytest.mark.gpu
def test_compiled_on_a_gpu():
    molecule = from_sequence("ACE-ALA-NME")
    double = TorchForceField.from_openmm(molecule.system)
    x = hot_frames(double, molecule.positions)
    field = TorchForceField.from_openmm(molecule.system, dtype=torch.float32).cuda()
    field.compile()
    energy, force = field.energy_and_force(x.float().cuda())
    torch.testing.assert_close(energy.cpu().double(), double.energy(x), rtol=0, atol=2e-3)
    torch.testing.assert_close(force.cpu().double(), double.energy_and_force(x)[1], rtol=1e-3, atol=0.1)


# ---- what is refused


def periodic() -> openmm.NonbondedForce:
    force = nonbonded()
    force.setNonbondedMethod(openmm.NonbondedForce.PME)
    return force


def switched() -> openmm.NonbondedForce:
    force = nonbonded(0.4)
    force.setUseSwitchingFunction(True)
    force.setSwitchingDistance(0.3)
    return force


def altered() -> openmm.CustomGBForce:
    force = custom_born(GBSAOBC1Force)
    expression, kind = force.getEnergyTermParameters(0)
    force.setEnergyTermParameters(0, expression.replace("0.5", "0.6"), kind)
    return force


REFUSED = {
    "CustomExternalForce": lambda: openmm.CustomExternalForce("x^2"),
    "CustomBondForce": lambda: openmm.CustomBondForce("r"),
    "periodic boundary": periodic,
    "switching function": switched,
    r"CustomGBForce: B=1/\(1/or-I\)": lambda: custom_born(GBSAHCTForce),
    "CustomGBForce: .*radindex": lambda: custom_born(GBSAGBnForce),
    "CustomGBForce: energy": altered,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_name(name):
    with pytest.raises(InputError, match=name) as error:
        TorchForceField.from_openmm(system_of(REFUSED[name]()))
    assert "\n" not in str(error.value)


def test_virtual_sites_are_refused():
    system = system_of(bonds())
    system.setVirtualSite(0, openmm.TwoParticleAverageSite(1, 2, 0.5, 0.5))
    with pytest.raises(InputError, match="virtual sites"):
        TorchForceField.from_openmm(system)
