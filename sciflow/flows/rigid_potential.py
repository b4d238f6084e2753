"""Gradients of convex functions as flows on rotations."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ConvexPotential"]

DAMPED, FULL = 30, 4  # steps of Newton's method: the last ones are whole, where a minimum is too flat to compare values
HALVINGS = 10  # step lengths 1, 1/2, …, tried side by side
SHARPEST = 20.0  # power of the norm, where 1 is a mean square
LONGEST = 10.0  # of a direction: beyond, curvatures differ by more than single precision tells apart


class ConvexPotential:
    r"""q ↦ ∇φ(q)/|∇φ(q)| with φ convex, even and homogeneous of degree two: a bijection of S³ that commutes with −1.

    .. math:: φ(x) = \tfrac12 \Big(\sum_k w_k\, s_k^{p/2}\Big)^{2/p}, \; s_k = |x|^2 + (a_k \cdot x)^2, \quad p \ge 2,

    half the square of a smooth norm, whose gradient is a diffeomorphism of R⁴ ∖ 0 that keeps lines through the origin
    together: hence of the sphere, of its quotient SO(3), and never beyond the cut locus of anything. By Euler's
    relation Hq = ∇φ(q), H the Hessian, so that with respect to the Haar measure

    .. math:: \log|\det \partial f| = \log\det H(q) - 4\log|\nabla φ(q)|.

    The image crowds near the directions ±a_k (as many modes on SO(3) as there are directions), the more the longer a_k
    and the larger p. Zeros give the identity.

    The inverse minimises φ(x) − y·x, which is strictly convex, by Newton's method with step halving; derivatives of the
    inverse come from one more Newton step at the solution, by the implicit function theorem.

    Args:
        raw: (…, 5K + 1) unconstrained: K directions a_k (4 each), K logarithms of weights, and p.

    Source: Köhler, Invernizzi, de Haan & Noé 2023 (arXiv:2301.11355) for gradients of convex functions on quaternions,
    Sei 2013 (J. Multivariate Anal. 115) and Cohen, Amos & Lipman 2021 (arXiv:2106.10272) on spheres. The norm is ours.
    """

    def __init__(self, raw: Tensor) -> None:
        k = (raw.shape[-1] - 1) // 5
        a, log_w, p = raw.split((4 * k, k, 1), -1)
        a = a.unflatten(-1, (k, 4))
        self.a = a / (1 + (a * a).sum(-1, keepdim=True) / LONGEST**2).sqrt()
        self.log_w = log_w.log_softmax(-1)
        self.power = 2 + (SHARPEST - 2) * p.sigmoid()

    @staticmethod
    def n_parameters(k: int) -> int:
        """Of the map with k directions."""
        return 5 * k + 1

    def call_and_ladj(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """f(q) and its ladj (…,) for q (…, 4)."""
        _, gradient, hessian = self._derivatives(q)
        norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
        log_det = 2 * torch.linalg.cholesky_ex(hessian).L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return gradient / norm, log_det - 4 * norm.squeeze(-1).log()

    def inverse_and_ladj(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """f⁻¹(q) and its ladj (…,)."""
        x, scale = self._solve(q.detach())
        # One step of Newton's method moves x by rounding only, and has the derivatives of the solution.
        value, gradient, hessian = self._derivatives(x)
        step = torch.linalg.solve((value[..., None] * hessian).detach(), value * gradient - q / scale)
        x = F.normalize(x - step, dim=-1)
        return x, -self.call_and_ladj(x)[1]

    def _derivatives(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """2φ (…, 1), and ∇φ and the Hessian of φ over 2φ, which are of order one whatever the powers.

        With shares π_k ∝ w_k s_k^{p/2} and b_k = ∇s_k/2: ∇φ/2φ = Σπ_k b_k/s_k, and the Hessian over 2φ is
        Σπ_k B_k/s_k + (p − 2) Cov_π(b_k/s_k), a sum of positive matrices.
        """
        along = (self.a * x[..., None, :]).sum(-1)
        s = (x * x).sum(-1, keepdim=True) + along.square()
        logits = self.log_w + 0.5 * self.power * s.log()
        share, twice = logits.softmax(-1), (2 / self.power * logits.logsumexp(-1, keepdim=True)).exp()
        slope = (x[..., None, :] + along[..., None] * self.a) / s[..., None]
        gradient = (share[..., None] * slope).sum(-2)
        weight = (share / s)[..., None]
        across = slope - gradient[..., None, :]
        hessian = (weight * self.a).mT @ self.a + (self.power - 2)[..., None] * (
            (share[..., None] * across).mT @ across
        )
        isotropic = weight.sum(-2)[..., None] * torch.eye(4, dtype=x.dtype, device=x.device)
        return twice, gradient, isotropic + hessian

    @torch.no_grad()
    def _solve(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Unit x with f(x) = y, and the length of the solution of ∇φ(·) = y, of which it is the direction."""
        x = (
            y / self._twice(y[..., None, :]).squeeze(-1).sqrt()
        )  # where the norm is one: within a factor of the solution's
        lengths = 0.5 ** torch.arange(HALVINGS, dtype=y.dtype, device=y.device)
        for n in range(DAMPED + FULL):
            twice, gradient, hessian = self._derivatives(x)
            step = torch.linalg.solve_ex(hessian, gradient - y / twice)[0]
            if n >= DAMPED:
                x = x - step
                continue
            trials = x[..., None, :] - lengths[:, None] * step[..., None, :]
            values = 0.5 * self._twice(trials).squeeze(-1) - (trials * y[..., None, :]).sum(-1)
            best = values.argmin(-1)[..., None, None].expand(*x.shape[:-1], 1, 4)
            x = trials.gather(-2, best).squeeze(-2)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / length, length

    def _twice(self, x: Tensor) -> Tensor:
        """2φ (…, T, 1) of T points (…, T, 4)."""
        s = (x * x).sum(-1, keepdim=True) + (x @ self.a.mT).square()
        power = self.power[..., None, :]
        logits = self.log_w[..., None, :] + 0.5 * power * s.log()
        return (2 / power * logits.logsumexp(-1, keepdim=True)).exp()
