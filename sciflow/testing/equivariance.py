"""The symmetries of a field of vectors on points."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..manifolds import SO3
from ..manifolds.quaternion import to_matrix
from ..rng import step_generator
from .zero import TOLERANCE, assert_zero

__all__ = ["assert_equivariant"]


def assert_equivariant(
    fn: Callable[[Tensor], Tensor],
    x: Tensor,
    groups: Sequence[Literal["rotation", "reflection", "translation", "permutation"]] = (
        "rotation",
        "translation",
        "permutation",
    ),
    *,
    labels: Tensor | None = None,
    seed: int = 0,
) -> None:
    """Hold a field of vectors on points to its symmetries: ``fn(g·x) = g·fn(x)`` for a random element of each group.

    Rotations and reflections turn points and vectors, translations move points only, permutations reorder both.

    Args:
        fn: takes points to vectors, ``(B, N, 3)`` both; close over the time and the conditions, such as
            ``lambda x: field.velocity(x, t)``.
        x: points, best in float64: the dtype decides the tolerance, relative to the largest vector.
        groups: the symmetries to check.
        labels: integers ``(N,)``; only points with equal labels are interchanged (all points by default). Give padded
            points a label of their own.
        seed: of the group elements.

    Raises:
        AssertionError: naming the broken symmetry.
    """
    generator = step_generator(seed)
    turn = to_matrix(SO3().random(generator=generator, dtype=x.dtype, device=x.device))
    shift = torch.randn(3, generator=generator, dtype=x.dtype).to(x.device)
    order = _interchange(torch.zeros(x.shape[1]) if labels is None else labels.cpu(), generator).to(x.device)
    actions: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
        "rotation": (lambda y: y @ turn.mT, lambda v: v @ turn.mT),
        "reflection": (torch.neg, torch.neg),
        "translation": (lambda y: y + shift, lambda v: v),
        "permutation": (lambda y: y[:, order], lambda v: v[:, order]),
    }
    vectors = fn(x)
    tol = 10 * TOLERANCE[x.dtype] * float(vectors.detach().abs().max())
    for group in groups:
        on_points, on_vectors = actions[group]
        assert_zero(f"{group} equivariance", fn(on_points(x)) - on_vectors(vectors), tol)


def _interchange(labels: Tensor, generator: torch.Generator) -> Tensor:
    """A random permutation of the places that maps each label to itself."""
    shuffled = torch.randperm(len(labels), generator=generator)
    order = torch.empty_like(shuffled)
    order[labels.argsort(stable=True)] = shuffled[labels[shuffled].argsort(stable=True)]
    return order
