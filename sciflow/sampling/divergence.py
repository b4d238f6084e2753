"""The divergence of a velocity field on any manifold."""

import math
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Manifold, Product, State, leaves, tree_map
from ..rng import Generator, uniform
from .steps import Velocity

__all__ = ["by_points", "divergence", "rademacher", "velocity_and_divergence"]


def divergence(
    velocity: Velocity,
    manifold: Manifold[Any],
    x: State,
    t: Tensor,
    probe: State | list[Tensor] | None = None,
    chunk: int | None = None,
) -> Tensor:
    r"""Riemannian divergence ``(B,)`` of ``velocity(x, t)``, summed over the event.

    .. math:: \operatorname{div} v = \sum_i e_i \cdot P\, \tfrac{d}{d\varepsilon} v(\exp_x(\varepsilon P e_i))
              + \tfrac{d}{d\varepsilon} \log \sqrt{\det g}\,(\exp_x(\varepsilon v))

    over the standard basis of the tangent coordinates, with ``P = proju``: the trace of the derivative in the tangent
    space, and the change of the volume element where coordinates do not keep it. Exact by default; with a ``probe``
    (tangent-shaped, independent coordinates of mean 0 and variance 1) the unbiased estimate in which the probe
    replaces the sum over ``e_i`` (Hutchinson 1990; Grathwohl et al. 2018, arXiv:1810.01367). A list of probes is
    summed over: see ``by_points``.

    Args:
        velocity: ``(x, t) -> tangent``. Sample ``b`` of the velocity must depend on sample ``b`` of ``x`` alone.
        chunk: directions that are differentiated together; by default as many as pay on the device.

    Raises:
        ValueError: when the velocity is cut off from ``x``, which would pass for a divergence of zero.
    """
    return velocity_and_divergence(velocity, manifold, x, t, probe, chunk)[1]


def velocity_and_divergence(
    velocity: Velocity,
    manifold: Manifold[Any],
    x: State,
    t: Tensor,
    probe: State | list[Tensor] | None = None,
    chunk: int | None = None,
) -> tuple[State, Tensor]:
    """The velocity and its ``divergence`` from one call of the network.

    In reverse mode: one forward pass serves every direction, and on a CPU a pullback costs less than a forward-mode
    product. A graph is left behind only when gradients are enabled and ``x`` requires them.
    """
    x = _in_order(manifold, x)
    keep = torch.is_grad_enabled() and any(leaf.requires_grad for leaf in leaves(x))
    with torch.enable_grad():
        z = tree_map(lambda leaf: leaf.view_as(leaf) if keep else leaf.detach().requires_grad_(), x)
        v = _in_order(manifold, velocity(z, t))
        fixed = x if keep else tree_map(torch.Tensor.detach, x)
        out = _joined(manifold.proju(fixed, v))  # the projection at x stays while the velocity moves
    if not out.requires_grad:
        raise ValueError("the velocity carries no gradient to x: compute it without no_grad (if constant, add 0 * x)")
    if isinstance(probe, list):
        directions = torch.stack([_joined(part) for part in probe])
    elif probe is not None:
        directions = _joined(_in_order(manifold, probe))[None]
    else:
        eye = torch.eye(out.shape[1], dtype=out.dtype, device=out.device)
        directions = eye[:, None].expand(-1, *out.shape)
    v = v if keep else tree_map(torch.Tensor.detach, v)
    total = _volume_rate(manifold, fixed, v)
    for batch in directions.split(chunk or _chunk(out)):
        total = total + _quadratic_form(manifold, z, v, out, batch, keep)
    return v, total


def rademacher(manifold: Manifold[Any], x: Any, generator: Generator = None) -> Any:
    """Random signs in the shape of a tangent at ``x``: the probe of least variance among independent ones."""
    if isinstance(manifold, Product):
        return {name: rademacher(factor, x[name], generator) for name, factor in manifold.factors.items()}
    shape = (*x.shape[: x.ndim - len(manifold.point_shape)], *manifold.tangent_shape)
    return 2 * uniform(*shape, generator=generator, dtype=x.dtype, device=x.device).round() - 1


def by_points(manifold: Manifold[Any], x: Tensor, generator: Generator = None) -> list[Tensor]:
    """Probes of the divergence that are exact within a point, one for each of its coordinates.

    Each has one coordinate of all points of the event at once, with a random sign each point: unbiased, and the noise
    is from how points depend on each other alone. Source: sums over blocks, Bekas, Kokiopoulou, Saad 2007.
    """
    (n,) = manifold.tangent_shape
    sign = 2 * uniform(*x.shape[:-1], 1, generator=generator, dtype=x.dtype, device=x.device).round() - 1
    return [sign * e for e in torch.eye(n, dtype=x.dtype, device=x.device)]


def _quadratic_form(manifold: Manifold[Any], z: State, v: State, out: Tensor, directions: Tensor, keep: bool) -> Tensor:
    """Sum over ``directions (C, B, n)`` of ``e · P Dv·embed(P e)``, by pulling ``e`` back through ``P v``.

    ``torch.autograd.grad`` can batch by itself (``is_grads_batched``), but then loses, without a word, the graph behind
    every custom function in a backward pass.
    """

    def pullback(e: Tensor) -> tuple[Tensor, ...]:
        keywords: Any = {"retain_graph": True, "create_graph": keep, "allow_unused": True, "materialize_grads": True}
        return torch.autograd.grad(out, leaves(z), e, **keywords)

    with torch.set_grad_enabled(keep):
        tangents = manifold.proju(z, _split(directions, v))
        alone = len(directions) == 1  # then nothing is gained from batched operations, which are slower ones
        pulled = [g[None] for g in pullback(directions[0])] if alone else torch.func.vmap(pullback)(directions)
        moved = leaves(manifold.embed(z, tangents))
        return torch.stack([(g * m).flatten(2).sum((0, 2)) for g, m in zip(pulled, moved, strict=True)]).sum(0)


def _volume_rate(manifold: Manifold[Any], x: State, v: State) -> Tensor:
    first = leaves(x)[0]
    rate = torch.as_tensor(manifold.log_volume_rate(x, v)).to(first)
    return rate.reshape(len(first), -1).sum(1) if rate.ndim else rate.expand(len(first))


def _chunk(out: Tensor) -> int:
    """Directions that are pulled back together: as many as keep a processor busy, and their gradients in its reach.

    Measured on a CPU, 66 directions: small networks and small batches gain up to a factor of ten over one direction at
    a time, a graph network of 64 molecules gains nothing and would lose. The numbers in the gradients of one pullback
    tell them apart.
    """
    numbers, seen, stack = 0, set(), [out.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen or not node.next_functions:  # parameters end here
            continue
        seen.add(node)
        numbers += sum(math.prod(gradient.shape) for gradient in node._input_metadata)
        stack.extend(parent for parent, _ in node.next_functions)
    return max(1, (2**23 if out.device.type == "cpu" else 2**27) // max(1, numbers))


def _in_order(manifold: Manifold[Any], u: State) -> State:
    """The factors of ``u`` in the order of the manifold's: joined below, they must meet those of its operations."""
    return {name: u[name] for name in manifold.factors} if isinstance(u, dict) and isinstance(manifold, Product) else u


def _joined(u: State, start: int = 1) -> Tensor:
    return torch.cat([leaf.flatten(start) if leaf.ndim > start else leaf[..., None] for leaf in leaves(u)], -1)


def _split(flat: Tensor, like: State) -> State:
    """Undo ``_joined`` on the last axis of ``flat (C, B, n)``."""
    shapes = [leaf.shape for leaf in leaves(like)]
    pieces = flat.split([math.prod(shape[1:]) for shape in shapes], -1)
    parts = [piece.reshape(flat.shape[0], *shape) for piece, shape in zip(pieces, shapes, strict=True)]
    return dict(zip(like, parts, strict=True)) if isinstance(like, dict) else parts[0]
