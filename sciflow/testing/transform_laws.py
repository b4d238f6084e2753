"""The laws of invertible maps with a Jacobian."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..manifolds import wrap
from .zero import assert_zero

__all__ = ["assert_transform_laws"]


def assert_transform_laws(
    transform: Any,
    x: Tensor,
    *,
    circular: Tensor | None = None,
    orbit: Callable[[Tensor], Tensor] | None = None,
    tol: float = 1e-10,
) -> None:
    """Hold an invertible map f to its laws at the points ``x``, which must be float64.

    Checks that f and its inverse undo each other, that ladj is the slogdet of the autograd Jacobian, that the ladj of
    the inverse is minus that of f, that gradients reach every parameter, that no operation mixes batch elements, and
    that a batch may be empty.

    Args:
        transform: the map under test, a ``Transform`` with ``call_and_ladj`` (as in zuko). Perturb the parameters of
            one that starts as the identity, or no gradient passes its zero weights.
        x: batch of points (B, *event); put some on seams, at box edges and in the tails.
        circular: BoolTensor, event entries of x and f(x) that are angles: compared modulo 2π.
        orbit: for a map that forgets a symmetry, the k directions (*event, k) in which the point x (*event) moves under
            it, of unit volume: x is then compared with f⁻¹(f(x)), and volume is that of R^D modulo the symmetry.
        tol: absolute tolerance.

    Raises:
        AssertionError: naming the broken law.
    """
    if orbit is not None:
        x = transform.inv(transform(x)).detach()
    y, ladj = transform.call_and_ladj(x)
    back, ladj_back = transform.inv.call_and_ladj(y)
    assert_zero("f⁻¹(f(x)) = x", _modulo(back - x, circular), tol)
    assert_zero("f(f⁻¹(y)) = y", _modulo(transform(back) - y, circular), tol)
    assert_zero("ladj of the inverse is −ladj", ladj + ladj_back, tol)
    jacobian = _jacobians(transform.inv, y.detach())
    if orbit is None:
        assert_zero("ladj = log|det ∂f|", torch.linalg.slogdet(_jacobians(transform, x)).logabsdet - ladj, tol)
    else:
        motions = torch.stack([orbit(point).flatten(0, -2) for point in x])
        jacobian = torch.cat((jacobian, motions), -1)
    assert_zero("ladj of the inverse = log|det ∂f⁻¹|", torch.linalg.slogdet(jacobian).logabsdet - ladj_back, tol)
    _transform_batches(transform, x, y, ladj, circular, tol)
    if isinstance(transform, nn.Module) and list(transform.parameters()):
        _transform_gradients(transform, x)


def _modulo(difference: Tensor, circular: Tensor | None) -> Tensor:
    return difference if circular is None else torch.where(circular, wrap(difference), difference)


def _jacobians(transform: Any, x: Tensor) -> Tensor:
    """∂f/∂x of each sample, (B, D_y, D_x)."""
    event = x[0].numel()
    whole = torch.autograd.functional.jacobian(lambda point: transform(point).flatten(1).sum(0), x)
    return whole.reshape(-1, len(x), event).movedim(1, 0)


def _transform_batches(transform: Any, x: Tensor, y: Tensor, ladj: Tensor, circular: Tensor | None, tol: float) -> None:
    for name, shape in (("no batch", ()), ("two batch dimensions", (1, 1))):
        alone, alone_ladj = transform.call_and_ladj(x[-1].reshape(*shape, *x.shape[1:]))
        assert alone.shape == (*shape, *y.shape[1:]), f"f with {name} has shape {tuple(alone.shape)}"
        assert alone_ladj.shape == shape, f"ladj with {name} has shape {tuple(alone_ladj.shape)}"
        assert_zero(f"f does not depend on its batch ({name})", _modulo(alone - y[-1], circular), tol)
        assert_zero(f"ladj does not depend on its batch ({name})", alone_ladj - ladj[-1], tol)
    for name, map_, points, image in (("f", transform, x, y), ("the inverse", transform.inv, y, x)):
        nothing, its_ladj = map_.call_and_ladj(points[:0].detach())
        assert nothing.shape == image[:0].shape, f"{name} of no points has shape {tuple(nothing.shape)}"
        assert its_ladj.shape == (0,), f"ladj of {name} of no points has shape {tuple(its_ladj.shape)}"


def _transform_gradients(transform: Any, x: Tensor) -> None:
    transform.zero_grad()
    y, ladj = transform.call_and_ladj(x)
    (y.square().sum() + ladj.sum()).backward()
    for name, parameter in transform.named_parameters():
        assert parameter.grad is not None, f"no gradient reaches {name}"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
        assert parameter.grad.any(), f"the gradient of {name} is zero"
