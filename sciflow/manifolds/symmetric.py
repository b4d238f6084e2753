"""Exponential and logarithm of symmetric matrices, with derivatives that repeated eigenvalues do not trouble."""

from typing import Any

import torch
from torch import Tensor

from .arcs import cosh_sinhc

__all__ = ["expm1", "log1p", "symmetrize"]

_TERMS = 16  # of the series for second differences: (2/3)^n / 2 n! falls below the rounding of double precision


def symmetrize(a: Tensor) -> Tensor:
    """``(A + Aᵀ)/2``."""
    return (a + a.mT) / 2


def expm1(a: Tensor) -> Tensor:
    """``exp(A) − I`` of the symmetric part of ``A (…, n, n)``: small matrices keep their relative precision."""
    return _Spectral.apply(symmetrize(a), _expm1, _second_differences)[0]


def log1p(a: Tensor) -> Tensor:
    """``log(I + A)`` of the symmetric part of ``A (…, n, n)``, eigenvalues above −1 (those below are lifted to it)."""
    return _Spectral.apply(symmetrize(a), _log1p, _second_differences_of_log)[0]


def _expm1(eigenvalues: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values, divided differences ``(…, n, n)``, and the numbers of which exp is taken."""
    return torch.expm1(eigenvalues), _differences(*_pairs(eigenvalues)), eigenvalues


def _log1p(eigenvalues: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    logs = torch.log1p(eigenvalues.clamp_min(torch.finfo(eigenvalues.dtype).eps - 1))
    return logs, 1 / _differences(*_pairs(logs)), logs


def _pairs(a: Tensor) -> tuple[Tensor, Tensor]:
    return a[..., :, None], a[..., None, :]


def _differences(a: Tensor, b: Tensor) -> Tensor:
    """``exp[a, b] = (e^a − e^b) / (a − b) = e^{(a + b)/2} sinhc((a − b)/2)``."""
    return (a / 2 + b / 2).exp() * cosh_sinhc((a / 2 - b / 2) ** 2)[1]


def _second_differences(a: Tensor) -> Tensor:
    """``exp[a_i, a_k, a_j] (…, i, k, j)``: the quotient of the widest gap or, within one, the Taylor series.

    Around the mean of the three the series is ``Σ_n h_n / (n + 2)!``, with ``h_n`` the sum of all their monomials of
    degree n.
    """
    triples = torch.stack(torch.broadcast_tensors(a[..., :, None, None], a[..., None, :, None], a[..., None, None, :]))
    low, middle, high = triples.sort(0).values
    wide = high - low > 1
    far = (_differences(middle, high) - _differences(low, middle)) / torch.where(wide, high - low, 1.0)
    mean = (low + middle + high) / 3
    x, y, z = (torch.where(wide, 0.0, part - mean) for part in (low, middle, high))
    one = two = three = torch.ones_like(mean)  # h_n of x, of x and y, of all
    factorial, series = 2.0, three / 2
    for n in range(1, _TERMS):
        one = one * x
        two = two * y + one
        three = three * z + two
        factorial *= n + 2
        series = series + three / factorial
    return torch.where(wide, far, mean.exp() * series)


def _second_differences_of_log(logs: Tensor) -> Tensor:
    """``log[x, y, z] = − exp[a, b, c] / (exp[a, b] exp[b, c] exp[a, c])``, of ``a = log x`` and so on."""
    first = _differences(*_pairs(logs))
    ik, kj, ij = first[..., :, :, None], first[..., None, :, :], first[..., :, None, :]
    return -_second_differences(logs) / (ik * kj * ij)


class _Batched(torch.autograd.Function):
    """A function of matrices ``(…, n, n)`` whose batches are one more leading axis.

    The rule that torch would generate loses the graph of a batched gradient (``is_grads_batched``) without a word.
    """

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        def first(arg: Any, dim: int | None) -> Any:
            if not isinstance(arg, Tensor):
                return arg
            return arg.expand(info.batch_size, *arg.shape) if dim is None else arg.movedim(dim, 0)

        out = cls.apply(*(first(arg, dim) for arg, dim in zip(args, in_dims, strict=True)))
        return out, (0,) * len(out) if isinstance(out, tuple) else 0


class _Spectral(_Batched):
    """``f(A) = V f(λ) Vᵀ``; its derivative is ``V (F ∘ VᵀEV) Vᵀ``, F the divided differences of f (Daleckii, Krein).

    Differentiating the eigenvectors instead would divide by the gaps between eigenvalues.
    """

    @staticmethod
    def forward(a: Tensor, fn: Any, second: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        eigenvalues, vectors = torch.linalg.eigh(a)
        values, slopes, roots = fn(eigenvalues)
        return (vectors * values[..., None, :]) @ vectors.mT, vectors, slopes, roots

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.second = inputs[2]
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output[1:])
        ctx.save_for_forward(inputs[0], *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, None, None]:
        a, *spectrum = ctx.saved_tensors
        return _Derivative.apply(a, symmetrize(grad), *spectrum, ctx.second), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor, None, None, None]:
        a, *spectrum = ctx.saved_tensors
        return _Derivative.apply(a, tangent, *spectrum, ctx.second), None, None, None


class _Derivative(_Batched):
    """``Df(A)[E] = V (F ∘ VᵀEV) Vᵀ``, linear and self-adjoint in E; along A it has the second derivative."""

    @staticmethod
    def forward(a: Tensor, e: Tensor, vectors: Tensor, slopes: Tensor, roots: Tensor, second: Any) -> Tensor:
        return vectors @ (slopes * (vectors.mT @ e @ vectors)) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *saved, ctx.second = inputs
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        a, e, vectors, slopes, roots = ctx.saved_tensors
        along_a = along_e = None
        if ctx.needs_input_grad[0]:
            along_a = _Curvature.apply(a, e, symmetrize(grad), vectors, ctx.second(roots))
        if ctx.needs_input_grad[1]:
            along_e = _Derivative.apply(a, grad, vectors, slopes, roots, ctx.second)
        return along_a, along_e, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, along_a: Tensor | None, along_e: Tensor | None, *_: Any) -> Tensor:
        a, e, vectors, slopes, roots = ctx.saved_tensors
        rate = torch.zeros_like(e)
        if along_e is not None:
            rate = _Derivative.apply(a, along_e, vectors, slopes, roots, ctx.second)
        if along_a is not None:
            rate = rate + _Curvature.apply(a, e, along_a, vectors, ctx.second(roots))
        return rate


class _Curvature(_Batched):
    """``D²f(A)[E, G] = V T Vᵀ``, ``T_ij = Σ_k f[λ_i, λ_k, λ_j] (E_ik G_kj + G_ik E_kj)`` in the basis V.

    With a third argument H it is a form ``tr(H D²f[E, G])`` that no order of the three changes.
    """

    @staticmethod
    def forward(a: Tensor, e: Tensor, g: Tensor, vectors: Tensor, second: Tensor) -> Tensor:
        e, g = (vectors.mT @ part @ vectors for part in (e, g))
        half = torch.einsum("...ikj,...ik,...kj->...ij", second, e, g)
        return vectors @ (half + half.mT) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None, None, None]:
        a, e, g, *spectrum = ctx.saved_tensors
        if ctx.needs_input_grad[0]:
            raise NotImplementedError("functions of symmetric matrices are differentiable twice, not three times")
        grad = symmetrize(grad)
        along_e = _Curvature.apply(a, grad, g, *spectrum) if ctx.needs_input_grad[1] else None
        along_g = _Curvature.apply(a, e, grad, *spectrum) if ctx.needs_input_grad[2] else None
        return None, along_e, along_g, None, None
