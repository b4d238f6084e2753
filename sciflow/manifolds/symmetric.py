"""Exponential and logarithm of symmetric matrices, with derivatives that repeated eigenvalues do not trouble."""

from typing import Any

import torch
from torch import Tensor

from .arcs import cosh_sinhc

__all__ = ["expm1", "log1p", "symmetrize"]


def symmetrize(a: Tensor) -> Tensor:
    """``(A + Aᵀ)/2``."""
    return (a + a.mT) / 2


def expm1(a: Tensor) -> Tensor:
    """``exp(A) − I`` of the symmetric part of ``A (…, n, n)``: small matrices keep their relative precision."""
    return _Spectral.apply(symmetrize(a), _expm1)[0]


def log1p(a: Tensor) -> Tensor:
    """``log(I + A)`` of the symmetric part of ``A (…, n, n)``, eigenvalues above −1 (those below are lifted to it)."""
    return _Spectral.apply(symmetrize(a), _log1p)[0]


def _expm1(eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
    return torch.expm1(eigenvalues), _slopes(eigenvalues)


def _log1p(eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
    logs = torch.log1p(eigenvalues.clamp_min(torch.finfo(eigenvalues.dtype).eps - 1))
    return logs, 1 / _slopes(logs)


def _slopes(a: Tensor) -> Tensor:
    """Divided differences ``(e^{a_i} − e^{a_j}) / (a_i − a_j) = e^{(a_i + a_j)/2} sinhc((a_i − a_j)/2)``."""
    half = a / 2
    gap = half[..., :, None] - half[..., None, :]
    return (half[..., :, None] + half[..., None, :]).exp() * cosh_sinhc(gap**2)[1]


class _Spectral(torch.autograd.Function):
    """``f(A) = V f(λ) Vᵀ``; its derivative is ``V (F ∘ VᵀEV) Vᵀ``, F the divided differences of f (Daleckii, Krein).

    Differentiating the eigenvectors instead would divide by the gaps between eigenvalues.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, fn: Any) -> tuple[Tensor, Tensor, Tensor]:
        eigenvalues, vectors = torch.linalg.eigh(a)
        values, slopes = fn(eigenvalues)
        return (vectors * values[..., None, :]) @ vectors.mT, vectors, slopes

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, vectors, slopes = output
        ctx.mark_non_differentiable(vectors, slopes)
        ctx.save_for_backward(inputs[0], vectors, slopes)
        ctx.save_for_forward(inputs[0], vectors, slopes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, None]:
        a, vectors, slopes = ctx.saved_tensors
        return _Derivative.apply(a, symmetrize(grad), vectors, slopes), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: Any) -> tuple[Tensor, None, None]:
        a, vectors, slopes = ctx.saved_tensors
        return _Derivative.apply(a, tangent, vectors, slopes), None, None


class _Derivative(torch.autograd.Function):
    """``E ↦ V (F ∘ VᵀEV) Vᵀ``, linear and self-adjoint in E. Its derivative along A would be silently missing."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, e: Tensor, vectors: Tensor, slopes: Tensor) -> Tensor:
        return vectors @ (slopes * (vectors.mT @ e @ vectors)) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
        a, _, vectors, slopes = ctx.saved_tensors
        if ctx.needs_input_grad[0]:
            raise NotImplementedError("functions of symmetric matrices are differentiable once, not twice")
        return None, _Derivative.apply(a, grad, vectors, slopes), None, None
