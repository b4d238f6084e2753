"""Alignment of point clouds: proper rotations (Kabsch) and permutations of identical atoms."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..manifolds import center

__all__ = ["Alignment", "kabsch"]

_SWEEPS = 30  # a handful suffices; equally good orders (coincident atoms) could be exchanged for ever


def kabsch(x0: Float[Tensor, "*batch N d"], x1: Float[Tensor, "*batch N d"]) -> Float[Tensor, "*batch d d"]:
    """Proper rotations ``R (…, d, d)``, det R = +1, that minimise ``Σ_a |R x0_a − x1_a|²`` over centred clouds.

    ``x0``, ``x1``: ``(…, N, d)``, each with its mean at the origin. A mirror image is never matched by reflection.

    Source: Kabsch 1976, 1978 (Acta Cryst. A32, A34).
    """
    u, _, vh = torch.linalg.svd(x1.mT @ x0)
    flip = torch.ones_like(u[..., 0, :])
    flip[..., -1] = torch.linalg.det(u @ vh).sign()
    return (u * flip[..., None, :]) @ vh


class Alignment:
    """Cost and alignment of clouds ``(n, N, d)`` up to translation, proper rotation and permutation of like atoms.

    ``cost(x0, x1)[i, j] = min_{R, π} Σ_a |R x0_{i,π(a)} − x1_{j,a}|²`` of the centred clouds. Without permutations it
    is the closed form ``|x0|² + |x1|² − 2(s₁ + … ± s_d)`` of the singular values of ``x1ᵀ x0``. With them, rotation
    (Kabsch) and permutation (Hungarian) alternate to a fixed point, from the given order and from the principal axes,
    and the best end is kept: a local minimum, never worse than rotation alone. The pairwise cost then runs n·m such
    searches: for batches of some dozens.

    The clouds of a batch have no padding: the centroid counts every atom.

    Args:
        permutable: groups of atom indices; the atoms of one group are interchangeable. Disjoint.

    Source: Klein, Krämer, Noé 2023 (arXiv 2306.15030); Song et al. 2023 (arXiv 2312.07168).
    """

    def __init__(self, permutable: Sequence[Sequence[int]] | None = None) -> None:
        indices = [index for group in permutable or [] for index in group]
        if len(set(indices)) != len(indices):
            raise ValueError(f"permutable groups share an atom: {permutable}; make them disjoint")
        self.permutable = [list(group) for group in permutable or [] if len(group) > 1]

    def __call__(self, x0: Float[Tensor, "n N d"], x1: Float[Tensor, "m N d"]) -> Float[Tensor, "n m"]:
        """Pairwise cost ``(n, m)`` of ``x0 (n, N, d)`` and ``x1 (m, N, d)``."""
        if self.permutable:
            left, right = x0[:, None].expand(-1, len(x1), -1, -1), x1[None].expand(len(x0), -1, -1, -1)
            left, right = left.flatten(0, 1), right.flatten(0, 1)
            return _residual(self.align(left, right), right).reshape(len(x0), len(x1))
        a, b = center(x0), center(x1)
        correlation = torch.einsum("mai,naj->nmij", b, a)
        s = torch.linalg.svdvals(correlation)
        overlap = s.sum(-1) - torch.where(torch.linalg.det(correlation) < 0, 2 * s[..., -1], 0.0)
        norms = a.square().sum((-2, -1))[:, None] + b.square().sum((-2, -1))[None]
        return (norms - 2 * overlap).clamp_min(0.0)

    def align(self, x0: Float[Tensor, "B N d"], x1: Float[Tensor, "B N d"]) -> Float[Tensor, "B N d"]:
        """Move each ``x0 (B, N, d)`` onto its ``x1 (B, N, d)``: permuted, rotated, on the centroid of ``x1``."""
        a, b = center(x0), center(x1)
        best = _rotate(a, kabsch(a, b))
        if self.permutable:
            starts = [best, *(_rotate(a, rotation) for rotation in _principal_rotations(a, b))]
            ends = torch.stack([self._descend(start, b) for start in starts])
            choice = torch.stack([_residual(end, b) for end in ends]).argmin(0)
            best = ends[choice, torch.arange(len(b), device=b.device)]
        return best + (x1 - b)

    def _descend(self, x0: Tensor, x1: Tensor) -> Tensor:
        """Alternate permutation and rotation of ``x0 (B, N, d)``, each of which lowers its cost, until neither does."""
        x0 = x0.clone()
        moving = torch.arange(len(x0), device=x0.device)
        for _ in range(_SWEEPS):
            order = self._assign(x0[moving], x1[moving])
            changed = (order != torch.arange(x0.shape[-2], device=x0.device)).any(-1)
            moving, order = moving[changed], order[changed]
            if not len(moving):
                break
            permuted = x0[moving].gather(-2, order[..., None].expand(-1, -1, x0.shape[-1]))
            x0[moving] = _rotate(permuted, kabsch(permuted, x1[moving]))
        return x0

    def _assign(self, x0: Tensor, x1: Tensor) -> Tensor:
        """Atom order ``(B, N)`` that brings the atoms of ``x0`` closest to those of ``x1``, group by group."""
        order = torch.arange(x0.shape[-2], device=x0.device).repeat(len(x0), 1)
        for group in self.permutable:
            index = torch.tensor(group, device=x0.device)
            overlap = (x1[:, index] @ x0[:, index].mT).detach().double().cpu().numpy()
            columns = [linear_sum_assignment(one, maximize=True)[1].tolist() for one in overlap]
            order[:, index] = index[torch.tensor(columns, dtype=torch.long, device=x0.device).reshape(len(x0), -1)]
        return order


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    return x @ rotation.mT


def _residual(x0: Tensor, x1: Tensor) -> Tensor:
    """Squared distance ``(B,)`` of matched clouds up to translation."""
    return (center(x0) - center(x1)).square().sum((-2, -1))


def _principal_rotations(x0: Tensor, x1: Tensor) -> list[Tensor]:
    """The 2^{d−1} proper rotations that take the principal axes of ``x0`` to those of ``x1``; they know no labels."""
    axes0, axes1 = (_proper(torch.linalg.eigh(x.mT @ x).eigenvectors) for x in (x0, x1))
    signs = torch.cartesian_prod(*[x0.new_tensor([1.0, -1.0])] * x0.shape[-1])
    return [(axes1 * sign) @ axes0.mT for sign in signs[signs.prod(-1) > 0]]


def _proper(axes: Tensor) -> Tensor:
    flip = torch.ones_like(axes[..., 0, :])
    flip[..., -1] = torch.linalg.det(axes).sign()
    return axes * flip[..., None, :]
