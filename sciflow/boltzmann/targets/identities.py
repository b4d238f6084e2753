"""Identities that hold for every density exp(−E): what samples of an unknown law are checked by."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..energy import Energy

__all__ = ["Identity", "curvature", "virial"]


class Identity(NamedTuple):
    """A mean over samples that must be one, and its standard error."""

    value: float
    error: float


def virial(energy: Energy, x: Tensor, dof: int, blocks: Tensor | None = None) -> Identity:
    """⟨x·∇E⟩ / dof = 1 (integration by parts of ∇·(x e^−E)), for samples ``x (B, …)``.

    ``blocks (B,)`` names independent groups of samples (chains); without it, all samples are independent.
    """
    work = -(x * energy.energy_and_force(x)[1]).flatten(1).sum(1) / dof
    return _mean(work, torch.ones_like(work), blocks)


def curvature(energy: Energy, x: Tensor, blocks: Tensor | None = None) -> Identity:
    """⟨|∇E|²⟩ / ⟨ΔE⟩ = 1, the Laplacian ΔE by differentiating the force along every coordinate.

    ``energy.energy`` must be differentiable twice. Where forces are steep this converges slower than the virial.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(energy.energy(x).sum(), x, create_graph=True)
        columns = gradient.flatten(1).unbind(1)
        rows = [torch.autograd.grad(g.sum(), x, retain_graph=True)[0].flatten(1) for g in columns]
        laplacian = torch.stack([row[:, k] for k, row in enumerate(rows)]).sum(0)
    return _mean(gradient.detach().flatten(1).square().sum(1), laplacian.detach(), blocks)


def _mean(above: Tensor, below: Tensor, blocks: Tensor | None) -> Identity:
    """Ratio of two means, with the error of the delta method over blocks."""
    above, below = above.double(), below.double()
    ratio = above.mean() / below.mean()
    residual = (above - ratio * below) / below.mean()
    if blocks is not None:
        members = torch.bincount(blocks).to(residual)
        residual = torch.zeros_like(members).index_add_(0, blocks, residual) / members
    return Identity(float(ratio), float(residual.std()) / len(residual) ** 0.5)
