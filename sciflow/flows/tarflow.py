"""Transformer autoregressive flow: affine maps of tokens, each by a causal transformer of those before it."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..nets import CausalTransformer
from .base import MixedBase
from .body_frame import BodyFrame
from .normalizing_flow import NormalizingFlow
from .transform import Composed, ModuleTransform
from .whitening import Whiten

__all__ = ["AutoregressiveAffine", "tarflow"]


class AutoregressiveAffine(ModuleTransform):
    r"""One block: T tokens of d numbers, (…, T·d), each moved by an affine map that the tokens before it determine.

    .. math:: y_j = e^{-s_j} \odot (I + C_j)(x_j - \mu_j), \qquad (\mu_j, s_j, C_j) = \text{transformer}(x_{<j}),

    with C strictly lower triangular, so that a token may be narrow in any direction, and the log-scales bounded,
    :math:`|s| < S`. The first token's map is of learned constants. ladj is :math:`-\sum s`. Starts as the identity.

    From x to y all tokens move at once. The inverse is found by Gauss–Seidel–Jacobi iteration: of the tokens in
    chunks, one chunk after the other, all tokens of one at once from the last guess, over and over. As a token depends
    on those before it alone, k sweeps give the first k tokens of a chunk exactly, to rounding: a chunk takes as many
    sweeps as it has tokens, or fewer, once no number moves by more than ``tolerance``. Keys and values of the chunks
    before are stored, not computed again; ``chunk = 1`` is sequential decoding, best on a CPU, ``chunk = T`` is pure
    Jacobi iteration.

    Gradients pass the inverse by the implicit function theorem: with J the Jacobian of the block,
    :math:`\bar y = J^{-T} \bar x` by the same iteration on pullbacks, in the memory of one evaluation. Once: to
    differentiate twice, go from x to y.

    Args:
        tokens, size: T and d.
        width, depth, heads: of the transformer.
        reverse: whether the last token is the first in line.
        bound: S.
        chunk: tokens that are iterated together by the inverse.
        tolerance: of the inverse, in the units of x, and of its gradient, relative; 0 for no change at all.

    Source: Zhai et al. 2024 (arXiv:2412.06329); for molecules Tan et al. 2025 (arXiv:2502.18462); the iteration
    Song et al. 2021 (arXiv:2002.03629), Liu & Qin 2025 (arXiv:2505.12849).
    """

    units: Tensor
    diagonal: Tensor

    def __init__(
        self,
        tokens: int,
        size: int = 3,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        *,
        reverse: bool = False,
        bound: float = 3.0,
        chunk: int = 1,
        tolerance: float = 1e-6,
    ) -> None:
        super().__init__()
        self.tokens, self.size, self.reverse = tokens, size, reverse
        self.bound, self.chunk, self.tolerance = bound, chunk, tolerance
        self.net = CausalTransformer(tokens, size, 2 * size + size * (size - 1) // 2, width, depth, heads)
        rows, columns = torch.tril_indices(size, size, -1)
        units = torch.eye(size * size)[rows * size + columns]  # the matrix units below the diagonal
        self.register_buffer("units", units.reshape(-1, size, size), persistent=False)
        self.register_buffer("diagonal", torch.eye(size), persistent=False)

    def call_and_ladj(self, x: Float[Tensor, "*batch D"]) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        y, ladj = self._forward(self._lined_up(x))
        return self._flat(y).reshape(x.shape), ladj.reshape(x.shape[:-1])

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        lined_up = self._lined_up(y)
        with torch.no_grad():
            x, ladj = self._solve(lined_up)
        if torch.is_grad_enabled() and (y.requires_grad or any(p.requires_grad for p in self.parameters())):
            x = self._differentiable(x, lined_up)
            ladj = -self._forward(x)[1]
        return self._flat(x).reshape(y.shape), ladj.reshape(y.shape[:-1])

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_scale, mix = self._maps(self.net(x))
        y = (-log_scale).exp() * (mix @ (x - mean)[..., None])[..., 0]
        return y, -log_scale.sum((-2, -1))

    def _solve(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x of ``y (B, T, d)`` and log|det ∂x/∂y|."""
        x = torch.cat((torch.zeros_like(y[:, :1]), y), 1)  # one token before the first, and a first guess
        cache, ladj = self.net.cache(len(y)), torch.zeros_like(y[:, 0, 0])
        for start in range(0, self.tokens, self.chunk):
            stop = min(start + self.chunk, self.tokens)
            for sweeps_left in reversed(range(stop - start)):
                mean, log_scale, mix = self._maps(self.net.resume(x[:, start:stop], start, cache))
                found = mean + _solve_triangular(mix, log_scale.exp() * y[:, start:stop])
                moved = (found - x[:, start + 1 : stop + 1]).abs()
                x[:, start + 1 : stop + 1] = found
                if sweeps_left and (moved <= self.tolerance).all():
                    break
            ladj += log_scale.sum((-2, -1))
        return x[:, 1:], ladj

    def _differentiable(self, x: Tensor, y: Tensor) -> Tensor:
        """x, with the gradient of the solution of f(x) = y."""

        def solved(gradient: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise RuntimeError("the inverse can be differentiated once: compute second derivatives of f itself")
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                image = self._forward(leaf)[0]
            _, log_scale, mix = self._maps(self.net(x))
            u = torch.zeros_like(gradient)
            for _ in range(self.tokens):
                (pulled,) = torch.autograd.grad(image, leaf, u, retain_graph=True)
                own = (mix.mT @ ((-log_scale).exp() * u)[..., None])[..., 0]
                found = log_scale.exp() * _solve_triangular(mix.mT, gradient - pulled + own, upper=True)
                moved, u = (found - u).abs().amax(), found
                if moved <= self.tolerance * u.abs().amax():
                    break
            return u

        residual = y - self._forward(x)[0]
        residual.register_hook(solved)
        return x + (residual - residual.detach())

    def _maps(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """μ and s (…, d), I + C (…, d, d)."""
        mean, log_scale, below = raw.split((self.size, self.size, len(self.units)), -1)
        mix = self.diagonal + torch.tensordot(below, self.units, 1)
        return mean, self.bound * (log_scale / self.bound).tanh(), mix

    def _lined_up(self, x: Tensor) -> Tensor:
        tokens = x.to(self.net.places.dtype).reshape(-1, self.tokens, self.size)
        return tokens.flip(1) if self.reverse else tokens

    def _flat(self, tokens: Tensor) -> Tensor:
        return (tokens.flip(1) if self.reverse else tokens).flatten(1)


def tarflow(
    order: Tensor,
    training_coordinates: Tensor,
    blocks: int = 4,
    width: int = 48,
    depth: int = 1,
    heads: int = 4,
    *,
    chunk: int = 1,
    seed: int = 0,
) -> NormalizingFlow:
    """Flow on Cartesian coordinates (B, N, 3) in nm: body frame, standardisation, autoregressive blocks of atoms.

    Densities are with respect to Cartesian volume modulo rigid motions (see `BodyFrame`), exactly: neither orientations
    nor a centre of mass are learnt, no noise is added, and no energy is adjusted. The tokens of a block are atoms (the
    first one the triangle of the first three), from first to last and from last to first by turns. They are not
    decorrelated, which would mix atoms: on alanine dipeptide that learns faster for some 800 steps, and is overtaken.
    Coordinates are in float64, the network in float32; ``.double()`` makes all of it float64.

    The flow can produce the mirror image of a centre; where that is outside the target, its weight is zero.

    Args:
        order: LongTensor (N,), see `BodyFrame`; neighbours in the molecule best follow each other.
        training_coordinates: (frames, N, 3) in nm; fits the standardisation.
        blocks: number of autoregressive blocks.
        width, depth, heads, chunk: of each, see `AutoregressiveAffine`.
        seed: names the initial weights.

    Raises:
        InputError: for an order that is none, or frames that do not fit it or do not vary.
    """
    frame = BodyFrame(order)
    if training_coordinates.shape[1:] != (len(frame.order), 3):
        shape = tuple(training_coordinates.shape)
        raise InputError(f"training coordinates of shape {shape}: the order needs (frames, {len(frame.order)}, 3)")
    y = frame(training_coordinates)
    numbers = torch.zeros(y.shape[-1], dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stack = [
            AutoregressiveAffine(len(frame.order) - 2, 3, width, depth, heads, reverse=n % 2 == 1, chunk=chunk)
            for n in range(blocks)
        ]
    return NormalizingFlow(MixedBase(numbers), Composed(frame, Whiten.standardise(y, numbers), *stack))


def _solve_triangular(matrix: Tensor, vector: Tensor, upper: bool = False) -> Tensor:
    return torch.linalg.solve_triangular(matrix, vector[..., None], upper=upper, unitriangular=True)[..., 0]
