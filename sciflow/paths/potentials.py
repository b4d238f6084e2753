"""Dual potentials of entropic transport, by Sinkhorn iterations that do not underflow."""

import torch
from torch import Tensor

__all__ = ["centred", "potentials"]

_SHRINK = 0.25  # of ε from one level to the next
_ITERATIONS = 6  # with one kernel
_KERNELS = 50  # at the last level
_MARGINAL = 0.05  # mean error of the sums of rows at which iterations end


def centred(cost: Tensor) -> Tensor:
    """``cost (n, m)`` without the means of its rows and columns, in single precision at least."""
    cost = cost.to(torch.promote_types(cost.dtype, torch.float32))
    cost = cost - cost.mean(1, keepdim=True)
    return cost - cost.mean(0)


def potentials(cost: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``f, g (n,)`` with which rows and columns of ``exp((f_i + g_j − C_ij)/ε)`` sum to one, nearly.

    ε falls from the largest cost to ``eps`` by levels, and each level starts from the potentials of the one before.
    Potentials are folded into the kernel at every level, and every few iterations of the last one, which else are
    products of kernel and vector. The entries of a plan are below one and stay so at a lower ε: nothing overflows,
    and the largest entry of a row, n⁻¹ before, does not underflow.

    Args:
        cost: finite, ``(n, n)``; precise to rounding where ``centred``.
        eps: in the units of ``cost``, positive.

    Source: Cuturi 2013 (arXiv 1306.0895); Schmitzer 2019 (arXiv 1610.06519).
    """
    f, g = torch.zeros_like(cost[:, 0]), torch.zeros_like(cost[0])
    level = max(eps, float(cost.abs().max()))
    while level > eps:
        f, g, _ = _iterate(cost, f, g, level)
        level = max(_SHRINK * level, eps)
    for _ in range(_KERNELS):
        f, g, error = _iterate(cost, f, g, level)
        if error < _MARGINAL:
            break
    return f, g


def _iterate(cost: Tensor, f: Tensor, g: Tensor, eps: float) -> tuple[Tensor, Tensor, float]:
    """The potentials after a few iterations, and the mean error of the sums of rows before the last of them."""
    kernel = (cost - f[:, None]).sub_(g).div_(-eps).exp_()
    tiny = torch.finfo(kernel.dtype).tiny
    u, v = torch.ones_like(f), torch.ones_like(g)
    rows = u
    for _ in range(_ITERATIONS):
        before, rows = u, kernel @ v
        u = rows.clamp_min(tiny).reciprocal()
        v = (u @ kernel).clamp_min(tiny).reciprocal()
    error = (before * rows - 1).abs().mean()
    return f + eps * u.log(), g + eps * v.log(), float(error)
