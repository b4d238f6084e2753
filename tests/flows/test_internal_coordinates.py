"""Internal coordinates: their values, their volume, and the frame that they rebuild."""

import math

import mdtraj
import numpy
import pytest
import torch

from sciflow.errors import InputError
from sciflow.flows import InternalCoordinates

# A branched molecule: proper torsions, relative impropers (rows whose last reference is bonded to their own centre),
# rows out of atom order, and the third atom hanging on either of the first two.
ZMATRIX = torch.tensor(
    [
        [2, -1, -1, -1],
        [0, 2, -1, -1],
        [1, 0, 2, -1],
        [3, 2, 0, 1],
        [4, 2, 0, 3],
        [5, 1, 0, 2],
        [6, 3, 2, 4],
        [7, 4, 2, 0],
    ]
)
THIRD_ON_FIRST = torch.cat((ZMATRIX[:2], torch.tensor([[1, 2, 0, -1]]), ZMATRIX[3:]))
both = pytest.mark.parametrize("zmatrix", [ZMATRIX, THIRD_ON_FIRST], ids=["chain", "fork"])


def molecules(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@both
def test_agrees_with_mdtraj(zmatrix: torch.Tensor) -> None:
    x = molecules(16)
    ic = InternalCoordinates(zmatrix)(x)
    frames = mdtraj.Trajectory(x.numpy(), None)
    indices = zmatrix.numpy()
    for got, want in [
        (ic[:, :7], mdtraj.compute_distances(frames, indices[1:, :2], opt=False)),
        (ic[:, 7:13].cos(), mdtraj.compute_angles(frames, indices[2:, :3], opt=False)),
        (ic[:, 13:], mdtraj.compute_dihedrals(frames, indices[3:], opt=False)),
    ]:
        want = torch.as_tensor(want).to(got)
        want = want.cos() if want.shape[1] == 6 else want
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)  # mdtraj stores float32


@both
def test_rigid_motions_are_forgotten_and_nothing_else(zmatrix: torch.Tensor) -> None:
    x, transform = molecules(8), InternalCoordinates(zmatrix)
    rotation = torch.linalg.qr(molecules(1, seed=1)[0, :3])[0]
    rotation = rotation * torch.linalg.det(rotation).sign()
    ic, ladj = transform.call_and_ladj(x)
    moved, moved_ladj = transform.call_and_ladj(x @ rotation.T + 3.0)
    torch.testing.assert_close(moved, ic, atol=1e-10, rtol=0)
    torch.testing.assert_close(moved_ladj, ladj, atol=1e-10, rtol=0)
    rebuilt = transform.inv(ic)
    torch.testing.assert_close(torch.cdist(rebuilt, rebuilt), torch.cdist(x, x), atol=1e-10, rtol=0)
    mirrored = transform(x * torch.tensor([1.0, 1.0, -1.0]))
    torch.testing.assert_close(mirrored[:, :13], ic[:, :13], atol=1e-10, rtol=0)
    torch.testing.assert_close(mirrored[:, 13:], -ic[:, 13:], atol=1e-10, rtol=0)


@both
def test_frame_of_the_inverse(zmatrix: torch.Tensor) -> None:
    transform = InternalCoordinates(zmatrix)
    first, second, third = transform.inv(transform(molecules(8)))[:, zmatrix[:3, 0]].unbind(1)
    assert torch.equal(first, torch.zeros_like(first))
    assert (second[:, 0] > 0).all()
    assert torch.equal(second[:, 1:], torch.zeros_like(second[:, 1:]))
    assert (third[:, 1] > 0).all()
    assert torch.equal(third[:, 2], torch.zeros_like(third[:, 2]))


@both
def test_volume_in_the_fixed_frame(zmatrix: torch.Tensor) -> None:
    """The 3N−6 frame-fixed Cartesians have the Jacobian of ladj but for the rigid-body factor b₁² b₂ sin a₂."""
    transform = InternalCoordinates(zmatrix)
    ic = transform(molecules(1))[0]
    free = torch.ones(8, 3, dtype=torch.bool)
    for row, axes in enumerate(([0, 1, 2], [1, 2], [2])):
        free[zmatrix[row, 0], axes] = False
    jacobian = torch.autograd.functional.jacobian(lambda y: transform.inv(y)[free], ic)
    rigid = 2 * ic[0].log() + ic[1].log() + ic[7].sin().log()
    ladj = transform.inv.call_and_ladj(ic)[1]
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1] + rigid, ladj, atol=1e-10, rtol=0)


def test_configuration_integral_of_three_springs() -> None:
    """exp(−½ Σ|xᵢ−xⱼ|²) of three atoms integrates to (2π)³ 3^(−3/2) V in closed form, 8π² of it rotations."""
    transform = InternalCoordinates(torch.tensor([[0, -1, -1, -1], [1, 0, -1, -1], [2, 0, 1, -1]]))
    nodes, weights = (torch.as_tensor(v) for v in numpy.polynomial.legendre.leggauss(64))
    bond, angle = 4 * (nodes + 1), math.pi / 2 * (nodes + 1)
    internal = torch.cartesian_prod(bond, bond, angle)
    x, ladj = transform.inv.call_and_ladj(internal)
    energy = torch.cdist(x, x).square().sum((-1, -2)) / 4
    volume = torch.cartesian_prod(4 * weights, 4 * weights, math.pi / 2 * weights).prod(-1)
    want = (2 * math.pi) ** 3 / 3**1.5 / (8 * math.pi**2)
    assert ((ladj - energy).exp() * volume).sum().item() == pytest.approx(want, rel=1e-10)


def test_planar_molecule_has_torsion_plus_pi_and_finite_gradients() -> None:
    x = torch.tensor([[0.0, 1, 0], [0, 0, 0], [1, 0, 0], [1, -1, 0]], dtype=torch.float64, requires_grad=True)
    transform = InternalCoordinates(torch.tensor([[0, -1, -1, -1], [1, 0, -1, -1], [2, 1, 0, -1], [3, 2, 1, 0]]))
    for sign in (1.0, -1.0):  # both signs of zero on the z axis
        assert transform(x * torch.tensor([1.0, 1.0, sign]))[-1].item() == math.pi
    transform(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    "rows",
    [
        [[0, -1, -1, -1], [1, 0, -1, -1]],
        [[0, -1, -1, -1], [1, 0, -1, -1], [1, 0, 1, -1]],
        [[0, -1, -1, -1], [1, 0, -1, -1], [2, 0, 0, -1]],
        [[0, -1, -1, -1], [1, 0, -1, -1], [2, 0, 1, 0]],
        [[0, -1, -1, -1], [1, 0, -1, -1], [2, 0, 1, -1], [3, 4, 0, 1], [4, 0, 1, 2]],
    ],
    ids=["too few", "placed twice", "same reference twice", "not padded", "reference below"],
)
def test_malformed_zmatrix_is_refused(rows: list[list[int]]) -> None:
    with pytest.raises(InputError, match="Z-matrix"):
        InternalCoordinates(torch.tensor(rows))
