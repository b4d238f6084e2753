"""Symmetries of the fields of points in space, ragged batches, and derivatives: one law for every field."""

import copy

import pytest
import torch

from sciflow.nets import EGNNField, PaiNNField, TensorProductField
from sciflow.sampling import divergence
from sciflow.testing import assert_equivariant

F64 = torch.float64


@pytest.fixture(scope="module", params=[EGNNField, PaiNNField, TensorProductField])
def field(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.set_default_dtype(F64)  # the Clebsch-Gordan coefficients of e3nn have the default dtype, to its precision
        try:
            return request.param([0, 1, 1, 2, 2, 2], width=8, depth=2)
        finally:
            torch.set_default_dtype(torch.float32)


@pytest.fixture
def x():
    return torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1), dtype=F64)


T = torch.tensor([0.0, 0.3, 0.9, 1.0], dtype=F64)


def test_symmetries(field, x):
    assert_equivariant(lambda y: field.velocity(y, T), x, labels=field.atom_types)


def test_types_tell_atoms_apart(field, x):
    with pytest.raises(AssertionError, match="permutation"):
        assert_equivariant(lambda y: field.velocity(y, T), x, ["permutation"])


def test_mirror_images_are_told_apart(field, x):
    with pytest.raises(AssertionError, match="reflection"):
        assert_equivariant(lambda y: field.velocity(y, T), x, ["reflection"])


def test_float32_symmetries(field, x):
    single = copy.deepcopy(field).float()
    assert_equivariant(lambda y: single.velocity(y, T.float()), x.float(), labels=field.atom_types)


def test_mean_velocity_is_zero(field, x):
    assert field.velocity(x, T).mean(1).abs().max() < 1e-14


def test_padding_neither_moves_nor_acts(field, x):
    """A ragged batch equals its molecules one by one, wherever the padding lies."""
    sizes = [6, 3, 5, 2]
    mask = torch.arange(6) < torch.tensor(sizes)[:, None]
    types = field.atom_types.expand(4, -1)
    together = field.velocity(x, T, mask=mask, atom_types=types)
    assert (together[~mask] == 0).all()
    moved = torch.where(mask[..., None], x, 100 * x)
    torch.testing.assert_close(field.velocity(moved, T, mask=mask, atom_types=types), together, rtol=0, atol=1e-13)
    for i, n in enumerate(sizes):
        alone = field.velocity(x[i : i + 1, :n], T[i : i + 1], atom_types=types[i : i + 1, :n])
        torch.testing.assert_close(together[i : i + 1, :n], alone, rtol=0, atol=1e-13)


def test_gradients_reach_every_parameter(field, x):
    field.zero_grad()
    field.velocity(x, T).square().sum().backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None, f"{name} is idle, which stops distributed training"
        assert parameter.grad.any(), name


def test_derivatives_of_all_kinds_agree(field, x):
    """jvp, pullback and the gradient of a directional derivative: what likelihoods and mean flows take."""
    u = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=F64)
    _, forward = torch.func.jvp(lambda y: field.velocity(y, T), (x,), (u,))
    step = 1e-6
    difference = (field.velocity(x + step * u, T) - field.velocity(x - step * u, T)) / (2 * step)
    torch.testing.assert_close(forward, difference, rtol=0, atol=1e-7)  # step² + rounding/step
    forward.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in field.parameters())


def test_coincident_atoms_have_finite_derivatives(field):
    x = torch.zeros(4, 6, 3, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(field.velocity(x, T).square().sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x, allow_unused=True, materialize_grads=True)
    assert slope.isfinite().all()
    assert curvature.isfinite().all()


def test_divergence_is_the_trace_of_the_jacobian(field, x):
    """By batched pullbacks, through whatever the field is compiled to."""
    whole = torch.autograd.functional.jacobian(lambda y: field.velocity(y, T).flatten(1).sum(0), x)
    blocks = whole.reshape(18, 4, 18).transpose(0, 1)
    trace = blocks.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(divergence(field.velocity, field.manifold, x, T), trace, rtol=1e-11, atol=1e-12)
