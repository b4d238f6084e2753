"""Flows on the Cartesian coordinates of a molecule, as a study builds them."""

import pytest
import torch
from openmm import app
from torch import Tensor

from sciflow.errors import InputError
from sciflow.molecules import EquivariantFlow, MolecularSystem, TarFlow, from_sequence
from sciflow.rng import step_generator


@pytest.fixture(scope="module")
def molecule() -> MolecularSystem:
    return from_sequence("ACE-GLY-NME")


@pytest.fixture
def topology(molecule: MolecularSystem) -> app.Topology:
    return molecule.topology


@pytest.fixture
def frames(molecule: MolecularSystem) -> Tensor:
    positions = torch.as_tensor(molecule.positions)
    return positions + 0.005 * torch.randn(300, *positions.shape, generator=step_generator(0), dtype=torch.float64)


def no_energy() -> None:
    raise AssertionError("a model that learns from data alone asks for no energy")


def test_tarflow_draws_molecules_like_its_frames(topology: app.Topology, frames: Tensor) -> None:
    model = TarFlow(blocks=2, width=8).build(topology, frames, no_energy)
    drawn = model.sample(50, generator=step_generator(1))
    assert drawn.x.shape == (50, *frames.shape[1:])
    lengths = [torch.cdist(x, x).mean(0) for x in (drawn.x, frames.double())]
    torch.testing.assert_close(*lengths, rtol=0, atol=0.01)  # noise of 0.005 √2 over √50 draws, five times over
    torch.testing.assert_close(model.log_prob(drawn.x), drawn.logq, rtol=0, atol=1e-3)


@pytest.mark.parametrize("field", ["egnn", "painn", "e3nn"])
def test_equivariant_flow_of_every_field(topology: app.Topology, frames: Tensor, field: str) -> None:
    model = EquivariantFlow(field=field, width=8, depth=2).build(topology, frames, no_energy)
    assert model.loss({"x": frames[:4].float()}, step_generator(2)).isfinite().all()
    assert model.sample(2, generator=step_generator(3), steps=2).x.shape == (2, *frames.shape[1:])


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"field='gnn'.*egnn, painn, e3nn"):
        EquivariantFlow(field="gnn")
    with pytest.raises(InputError, match="multiple"):
        TarFlow(width=10, heads=4)
