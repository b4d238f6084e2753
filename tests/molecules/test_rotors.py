"""Interchangeable hydrogens: the flow's density does not tell them apart, and draws one labelling of each frame."""

import math

import pytest
import torch

from sciflow.errors import InputError
from sciflow.flows import InternalCoordinates, Rotors
from sciflow.molecules import SplineFlow, from_sequence, zmatrix
from sciflow.molecules.rotors import rotors


def molecule_and_frames(sequence):
    molecule = from_sequence(sequence)
    noise = torch.randn(64, molecule.n_atoms, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return molecule, torch.as_tensor(molecule.positions) + 0.004 * noise


def test_methyls_and_ammonium_ends_turn():
    molecule, _ = molecule_and_frames("ALA-ILE-LYS")
    atoms = list(molecule.topology.atoms())
    found = {frozenset(atoms[i].name for i in rotor) for rotor in rotors(molecule.topology, zmatrix(molecule.topology))}
    expected = [("H", "H2", "H3"), ("HB1", "HB2", "HB3"), ("HG21", "HG22", "HG23"), ("HD11", "HD12", "HD13")]
    assert found == {frozenset(names) for names in [*expected, ("HZ1", "HZ2", "HZ3")]}


@pytest.mark.parametrize("core", [None, "backbone"])
@pytest.mark.parametrize("coupling", ["spline", "smooth"])
def test_a_turn_of_labels_changes_no_density(coupling, core):
    molecule, frames = molecule_and_frames("ACE-ALA-NME")
    generator = torch.Generator().manual_seed(1)
    model = SplineFlow(2, 8, 4, coupling, core, decorrelate=core is None).build(molecule.topology, frames, lambda: None)
    flow = model.flow.double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    x, logq = flow.sample(8, generator=generator)
    torch.testing.assert_close(flow.log_prob(x), logq, atol=1e-9, rtol=0)
    for rotor in rotors(molecule.topology, zmatrix(molecule.topology)):
        handed_on = x.clone()
        handed_on[:, rotor] = x[:, [*rotor[1:], rotor[0]]]
        torch.testing.assert_close(flow.log_prob(handed_on), logq, atol=1e-9, rtol=0)
        z, _ = flow.transform.call_and_ladj(handed_on)
        torch.testing.assert_close(flow.transform.inv(z), flow.transform.inv(flow.transform(x)), atol=1e-9, rtol=0)


def test_the_domain_is_a_third_of_the_circle_of_every_rotor():
    """u is uniform if τ is: then the third of the labellings inside the domain has ladj = log 3, per rotor."""
    molecule, frames = molecule_and_frames("ACE-ALA-NME")
    coordinates = InternalCoordinates(zmatrix(molecule.topology))
    triples = rotors(molecule.topology, coordinates.zmatrix)
    y = coordinates(frames[:1]).expand(3000, -1).clone()
    first = [coordinates.placement.rows[:, 0].tolist().index(rotor[0]) - (molecule.n_atoms - 3) for rotor in triples]
    turn = 2 * math.pi * (torch.arange(3000, dtype=torch.float64) / 3000 - 0.5)
    y[:, first] = turn[:, None]
    folded, ladj = Rotors.fit(
        coordinates.placement.rows, triples, coordinates(frames), coordinates.sizes
    ).call_and_ladj(y)
    assert ladj[0] == pytest.approx(len(triples) * math.log(3))
    for u in folded[:, first].T:  # every value three times: once a labelling
        gaps = u.sort().values.diff()
        assert gaps.max() == pytest.approx(3 * 2 * math.pi / 3000, rel=1e-6)


def test_atoms_that_do_not_turn_together_are_refused():
    molecule, frames = molecule_and_frames("ACE-ALA-NME")
    coordinates = InternalCoordinates(zmatrix(molecule.topology))
    with pytest.raises(InputError, match="relative to the first"):
        Rotors.fit(coordinates.placement.rows, [[3, 4, 13]], coordinates(frames), coordinates.sizes)
