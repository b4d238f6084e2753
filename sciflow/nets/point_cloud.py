"""What the fields of points in space share: types, time, masks, distances, and a velocity without a mean."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..manifolds import Euclidean
from .embedding import TimeEmbedding
from .field import Field

__all__ = ["PointCloudField", "Radial", "soften"]

# Gaussians in the logarithm of the distance: one set serves ångström, nanometre and standardised coordinates.
LOG_DISTANCES = torch.linspace(-3.5, 3.0, 24)
# Added to squared distances so that every derivative is finite where points meet.
SOFTENING = 1e-4


class PointCloudField(Field):
    """Velocity of ``N`` points of R³ with zero mean, from what a subclass says of their displacement.

    Points are dense, ``(B, N, 3)``, with ``mask (B, N)`` for ragged batches: padding neither moves nor acts.

    Args:
        atom_types: one integer per point when all samples are the same molecule; points of one type are
            interchangeable. Without it, types may come with the samples, as the condition ``atom_types (B, N)``.
        width: of the scalar features.
        n_types: number of types; by default what ``atom_types`` holds, or 1.
    """

    def __init__(self, atom_types: Sequence[int] | None, width: int, n_types: int | None) -> None:
        super().__init__(Euclidean(3, centered=True))
        types = None if atom_types is None else torch.as_tensor(atom_types, dtype=torch.long)
        self.register_buffer("atom_types", types, persistent=False)
        if n_types is None:
            n_types = 1 if types is None else int(types.max()) + 1
        self.types = nn.Embedding(n_types, width)
        self.time = TimeEmbedding(width)

    @abstractmethod
    def displacement(self, x: Tensor, h: Tensor, others: Tensor) -> Tensor:
        """Vectors ``(B, N, 3)`` of points ``x`` with scalars ``h (B, N, width)`` of type and time.

        ``others (B, N, N)``: one over the square root of the number of other real points, for each of them; else zero.
        """

    def velocity(  # type: ignore[override]  # its conditions have names
        self,
        x: Float[Tensor, "B N 3"],
        t: Float[Tensor, " B"],
        mask: Bool[Tensor, "B N"] | None = None,
        atom_types: Int[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N 3"]:
        types = self.atom_types if atom_types is None else atom_types
        if types is None:
            types = torch.zeros(x.shape[1], dtype=torch.long, device=x.device)
        real = torch.ones_like(x[..., :1]) if mask is None else mask[..., None].to(x.dtype)
        others = real * real.mT * (1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device))
        others = others / others.sum(-1, keepdim=True).clamp(min=1).sqrt()

        h = self.types(types) + self.time(t)[:, None]
        moved = self.displacement(x, h, others) * real
        return moved - real * (moved.sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1))


class Radial(nn.Module):
    """A linear map of Gaussians in the logarithm of the distance: ``(…,)`` squared distances to ``(…, width)``."""

    centres: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(len(LOG_DISTANCES), width, bias=False)
        self.register_buffer("centres", LOG_DISTANCES.clone(), persistent=False)

    def forward(self, square: Tensor) -> Tensor:
        log_distance = 0.5 * (square + SOFTENING).log()
        steps = (log_distance[..., None] - self.centres) / (self.centres[1] - self.centres[0])
        return self.linear((-steps.square()).exp())


def soften(r: Tensor, square: Tensor) -> Tensor:
    """``r (…, 3)`` over its length, smooth where that is zero; ``square (…,)`` is |r|²."""
    return r * (square + SOFTENING).rsqrt()[..., None]
