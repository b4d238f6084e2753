"""One force field, many ways to call it: derivatives, batches, dtypes, temperatures, compilers."""

import pytest
import torch
from openmm_systems import N, angles, atoms, correction_maps, everything, hot_frames, periodic_torsions, system_of
from torch.autograd import gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx

from sciflow.boltzmann import TorchForceField
from sciflow.molecules.system import from_sequence


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


@pytest.mark.parametrize("shape", [(2, N + 1, 3), (N, 3), (2, 3 * N)])
def test_frames_of_another_molecule_are_refused(shape):
    field = TorchForceField.from_openmm(everything())
    for call in (field.energy, field.energy_and_force):
        with pytest.raises(ValueError, match=rf"this molecule has {N} atoms; give \(B, N, 3\) in nm"):
            call(torch.zeros(shape))


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
