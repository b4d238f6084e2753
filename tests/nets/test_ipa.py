"""Invariant point attention: the fused call against the sum that defines it, and its invariance."""

import math

import pytest
import torch
from torch import Tensor

from sciflow.manifolds import SO3
from sciflow.manifolds.quaternion import multiply, rotate, to_matrix
from sciflow.nets import InvariantPointAttention

SIZE = {"width": 32, "pair_width": 8, "heads": 4}


def explicit(ipa: InvariantPointAttention, h: Tensor, z: Tensor, t: Tensor, r: Tensor, mask: Tensor) -> Tensor:
    """The published sums, with every displacement of two points stored."""
    q, k, v = ipa.scalars(h).unflatten(-1, (ipa.heads, -1)).chunk(3, -1)
    local = ipa.local(h).unflatten(-1, (ipa.heads, -1, 3))
    points = torch.einsum("bnij,bnhpj->bnhpi", r, local) + t[:, :, None, None]
    there, here, sent = points.split([ipa.points, ipa.points, ipa.value_points], 3)
    square = (there[:, :, None] - here[:, None]).square().sum((-1, -2))
    weight = torch.nn.functional.softplus(ipa.gamma) * math.sqrt(2 / (9 * ipa.points))
    scores = torch.einsum("bihc,bjhc->bijh", q, k) / math.sqrt(q.shape[-1]) + ipa.bias(z) - weight / 2 * square
    a = (math.sqrt(1 / 3) * scores).masked_fill(~mask[:, None, :, None], -torch.inf).softmax(2)
    far = torch.einsum("bijh,bjhpk->bihpk", a, sent) - t[:, :, None, None]
    near = torch.einsum("bnji,bnhpj->bnhpi", r, far)
    length = (near.square().sum(-1) + 1e-8).sqrt()
    return ipa.out(torch.cat([x.flatten(2) for x in (torch.einsum("bijh,bjhc->bihc", a, v), near, length)], -1))


def given(dtype: torch.dtype, n: int = 24) -> tuple[InvariantPointAttention, list[Tensor]]:
    """A random layer, and two chains of 3 nm, one of them padded."""
    ipa = InvariantPointAttention(**SIZE).to(dtype)
    torch.nn.init.normal_(ipa.gamma)
    h, z = torch.randn(2, n, SIZE["width"], dtype=dtype), torch.randn(2, n, n, SIZE["pair_width"], dtype=dtype)
    mask = torch.ones(2, n, dtype=torch.bool)
    mask[1, n - 7 :] = False
    return ipa, [h, z, 1.5 * torch.randn(2, n, 3, dtype=dtype), to_matrix(SO3().random(2, n, dtype=dtype)), mask]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_fused_call_is_the_explicit_sum(dtype: torch.dtype, tolerance: float) -> None:
    ipa, inputs = given(dtype)
    torch.testing.assert_close(ipa(*inputs), explicit(ipa, *inputs), atol=tolerance, rtol=0)


def test_gradients_are_those_of_the_explicit_sum() -> None:
    ipa, inputs = given(torch.float64)
    leaves = [*ipa.parameters(), *(x.requires_grad_() for x in inputs[:4])]
    fused, sums = (torch.autograd.grad(f(*inputs).square().sum(), leaves) for f in (ipa, lambda *x: explicit(ipa, *x)))
    for a, b in zip(fused, sums, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-11)])
def test_nothing_changes_when_all_frames_move_as_one(dtype: torch.dtype, tolerance: float) -> None:
    ipa, (h, z, t, _, mask) = given(dtype)
    q, turn = SO3().random(2, t.shape[1], dtype=dtype), SO3().random(dtype=dtype)
    still = ipa(h, z, t, to_matrix(q), mask)
    far = torch.tensor([30.0, -20.0, 10.0], dtype=dtype)  # nm: a chain somewhere in a big complex
    moved = ipa(h, z, rotate(turn, t) + far, to_matrix(multiply(turn, q)), mask)
    torch.testing.assert_close(moved, still, atol=tolerance, rtol=0)


def test_padding_is_not_attended_to() -> None:
    ipa, (h, z, t, r, mask) = given(torch.float64)
    alone = ipa(h[1:, :17], z[1:, :17, :17], t[1:, :17], r[1:, :17], mask[1:, :17])
    torch.testing.assert_close(ipa(h, z, t, r, mask)[1:, :17], alone, atol=1e-12, rtol=0)


def test_points_stay_in_single_precision_under_autocast() -> None:
    """A shift of 30 nm rounds coordinates to 0.1 nm in bfloat16: the result would change by its own size."""
    ipa, (h, z, t, r, mask) = given(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        still, moved = (ipa(h, z, x, r, mask).detach() for x in (t, t + 30))
    torch.testing.assert_close(moved, still, atol=1e-2 * float(still.abs().max()), rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(still.float(), ipa(h, z, t, r, mask), atol=3e-2 * float(still.abs().max()), rtol=0)


def test_all_padding_is_finite() -> None:
    ipa, (h, z, t, r, mask) = given(torch.float32)
    assert ipa(h, z, t, r, torch.zeros_like(mask)).isfinite().all()


def test_width_must_split_into_heads() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        InvariantPointAttention(30, 8, heads=4)
