"""The force field in torch against OpenMM's Reference platform, which is in double precision too."""

import openmm
import pytest
import torch
from openmm import app, unit
from openmm.app.internal.customgbforces import GBSAGBnForce, GBSAHCTForce, GBSAOBC1Force, GBSAOBC2Force
from openmm_systems import (
    angles,
    atoms,
    bonds,
    born,
    correction_maps,
    custom_born,
    hot_frames,
    impropers,
    lennard_jones_14,
    lennard_jones_by_types,
    nonbonded,
    periodic_torsions,
    ryckaert_bellemans,
    system_of,
)

from sciflow.boltzmann import OpenMMEnergy, TorchForceField
from sciflow.errors import InputError
from sciflow.molecules.system import from_sequence

PEPTIDES = [
    ("ACE-ALA-NME", ("amber99sbildn.xml", "amber99_obc.xml")),
    ("ACE-ALA-NME", ("amber96.xml", "implicit/obc1.xml")),
    ("ACE-ASP-PRO-NME", ("amber14/protein.ff14SB.xml", "implicit/obc2.xml")),  # charged, with a ring
    ("ACE-ALA-GLY-NME", ("amber19/protein.ff19SB.xml", "implicit/obc1.xml")),  # two correction maps
    ("ACE-ALA-ALA-ALA-ALA-NME", ("amber99sbildn.xml", "amber99_obc.xml")),
]


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


def test_constraints_are_refused():
    """Held bonds have no energy of their own: without the constraint their atoms fly apart."""
    system = system_of(bonds())
    system.addConstraint(0, 1, 0.1)
    with pytest.raises(InputError, match=r"1 constraints .* constraints=None"):
        TorchForceField.from_openmm(system)


@pytest.mark.parametrize("temperature", [0.0, -3.0, float("nan")])
def test_temperatures_are_above_zero(temperature):
    with pytest.raises(InputError, match="above 0 kelvin"):
        TorchForceField.from_openmm(system_of(bonds()), temperature)
    with pytest.raises(InputError, match="above 0 kelvin"):
        TorchForceField.from_openmm(system_of(bonds())).at(temperature)
