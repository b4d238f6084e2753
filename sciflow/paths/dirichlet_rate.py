"""How fast the Dirichlet path takes a letter to its vertex, without cancellation."""

import torch
from torch import Tensor

__all__ = ["DirichletRate", "dirichlet_rate"]

_NODES = 80  # of the quadrature: errors below 1e-8 up to k = 256
_DEGREE = 20  # of the polynomials in log a, whose nearest singularity is log(−1)
_CELLS = 128  # of the grid in b^¼, cubic: errors of 1e-7


def dirichlet_rate(b: Tensor, alpha: Tensor, k: int) -> Tensor:
    r"""The rate ``C(b, α) > 0`` at which ``dx/dα = C(x_k, α)(e_k − x)`` keeps the law ``Dirichlet(1 + α e_k)``.

    With ``a = 1 + α``, ``c = k − 1`` and ``D = ψ(a + c) − ψ(a)``, from the regularised incomplete beta function,

    .. math:: C = -\frac{∂_a I_b(a, c) B(a, c)}{b^{a-1}(1-b)^c}
                = \frac{\int_0^b u^{a-1}(1-u)^{c-1}(-\ln u - D)\,du}{b^{a-1}(1-b)^c}
                = \frac{\int_b^1 u^{a-1}(1-u)^{c-1}(D + \ln u)\,du}{b^{a-1}(1-b)^c}

    for over [0, 1] the integral is zero. The integrand changes its sign at ``u = e^{−D}`` only: the first form is taken
    below and the second above, and no term is ever negative.
    Differences of the incomplete beta function lose all digits where ``I ≈ 1``: at k = 160 from b = 0.3 on.
    Quadrature: tanh–sinh, after ``u = bv`` and ``1 − u = (1 − b)v`` (Takahasi, Mori 1974). ``C(1) = D/c``.

    Args:
        b, alpha: ``x_k`` in [0, 1] and α ≥ 0, in float64, of shapes that broadcast.

    Source: of the law and field Stark et al. 2024 (arXiv:2402.05841), whose α is our a.
    """
    a, c = 1 + alpha[..., None], k - 1
    b = b[..., None]
    h = torch.linspace(-3.2, 3.2, _NODES, dtype=b.dtype, device=b.device)
    log_v, log_left = (-torch.nn.functional.softplus(sign * torch.pi * h.sinh()) for sign in (-1, 1))
    weight = (log_v + log_left).exp() * torch.pi * h.cosh() * (h[1] - h[0])  # dv = v(1 − v) π cosh h dh
    spread = torch.digamma(a + c) - torch.digamma(a)
    low = b < (-spread).exp()
    inner = torch.where(low & (b > 0), b, 0.5)
    log_u = inner.log() + log_v
    below = (a - 1) * log_v + (c - 1) * (torch.log1p(-log_u.exp()) - torch.log1p(-inner))
    below = below.exp() * (-log_u - spread) * inner / (1 - inner)
    outer = torch.where(low, 1.0, b)
    log_u = torch.log1p((outer - 1) * log_v.exp())
    above = ((c - 1) * log_v + (a - 1) * (log_u - outer.log())).exp() * (spread + log_u)
    rate = (torch.where(low, below, above) * weight).sum(-1)
    return torch.where(b[..., 0] > 0, rate, 0.0)


class DirichletRate:
    """``dirichlet_rate`` of whole states: for each sample's α one grid in ``b^¼``, of cubics with the exact slopes.

    ``C' = C((1 − a)/b + c/(1 − b)) − (ln b + D)/(1 − b)``. The grids are Chebyshev polynomials in ``log a``, made once
    in float64, so that a call costs a small matrix product, one look-up and one cubic for each number.

    Args:
        alpha_max: α are in [0, alpha_max].
    """

    def __init__(self, k: int, alpha_max: float) -> None:
        self.top = torch.tensor(alpha_max, dtype=torch.float64).log1p().item()
        angles = (torch.arange(_DEGREE, dtype=torch.float64) + 0.5) * torch.pi / _DEGREE
        a = ((angles.cos()[:, None] + 1) * self.top / 2).exp()
        w = torch.linspace(0, 1, _CELLS + 1, dtype=torch.float64)
        b, c = w**4, k - 1
        value = dirichlet_rate(b, a - 1, k)
        spread = torch.digamma(a + c) - torch.digamma(a)
        inner = b[1:-1]
        slope = value[:, 1:-1] * ((1 - a) / inner + c / (1 - inner)) - (inner.log() + spread) / (1 - inner)
        last = (1 - spread * (a - 1) / c) / (c + 1)
        slope = torch.cat([torch.zeros_like(a), slope, last], 1)
        slope = (4 * w * slope - torch.cat([torch.zeros_like(a), 2 * value[:, 1:] / w[1:] ** 3], 1)) / _CELLS
        value = torch.cat([torch.zeros_like(a), value[:, 1:] / w[1:] ** 2], 1)
        left, right, rise = slope[:, :-1], slope[:, 1:], value.diff(dim=1)
        cubics = torch.stack([value[:, :-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise], 1)
        after = torch.stack([value[:, -1], slope[:, -1], 0 * last[:, 0], 0 * last[:, 0]], 1)  # where b = 1 looks
        basis = torch.cos(torch.arange(_DEGREE, dtype=torch.float64)[:, None] * angles) * 2 / _DEGREE
        basis[0] /= 2
        self.table = basis @ torch.cat([cubics, after[..., None]], -1).flatten(1)

    def __call__(self, x: Tensor, alpha: Tensor) -> Tensor:
        """``C(x, α)``, of the shape of ``x (B, L, k)``, for ``alpha (B,)``."""
        position = (2 / self.top * alpha.double().log1p() - 1).clamp(-1, 1).arccos()
        if self.table.device != x.device:
            self.table = self.table.to(x.device)
        degrees = torch.arange(_DEGREE, dtype=torch.float64, device=x.device)
        grids = (torch.cos(position[:, None] * degrees) @ self.table).to(x.dtype)
        root = x.clamp(torch.finfo(x.dtype).eps ** 2, 1).sqrt()
        w = _CELLS * root.sqrt()
        cell = w.detach().long().clamp_(0, _CELLS).flatten(1)
        c0, c1, c2, c3 = (c.gather(1, cell).view_as(x) for c in grids.unflatten(1, (4, -1)).unbind(1))
        part = w.frac()
        return torch.addcmul(c0, torch.addcmul(c1, torch.addcmul(c2, c3, part), part), part) * root
