"""The simplex of probabilities with the Fisher–Rao metric."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..rng import normal
from .arcs import arc_over_sine, cos_sinc
from .base import Manifold
from .priors import Uniform
from .sphere import Sphere

__all__ = ["Simplex"]


@dataclass(frozen=True)
class Simplex(Manifold[Tensor]):
    r"""Probabilities ``(…, k)`` of k categories, ``Σ p_i = 1``, with the Fisher–Rao metric ``Σ dp_i dq_i / p_i``.

    ``y = 2√p`` is an isometry to the positive orthant of the sphere of radius 2. Tangents are those of that sphere,
    ``u_i = dy_i = dp_i / √p_i`` with ``Σ √p_i u_i = 0``: their dot product is the metric, and they say where to go
    from a vertex or a face, where ``dp_i = √p_i u_i`` (``embed``) is zero. No volume term is needed for a divergence.

    Geodesics are great circles, ``√p ↦ cos(|u|/2) √p + sin(|u|/2) u/|u|``. Those that pass a face are reflected there:
    the sphere folds onto its orthant by ``y ↦ |y|``, and so ``p`` stays smooth. Shortest ones never leave, and no two
    points have several. ``dist = 2 arccos Σ √(p_i q_i)``, at most π, is taken from the differences
    ``√q − √p = (q − p)/(√q + √p)``, exact for points as close as their rounding.

    Euler and Midpoint move along these geodesics. RK4 and Dopri5 step in p, where ``dp = √p u`` is smooth as long as
    no face is met: they keep their order inside, and on fields that vanish across the faces, ``u_i = √p_i g_i(p)``.
    A field that presses against a face piles mass up on it; a density is then defined only up to that time.

    Source: Čencov 1982; for flows Davis et al. 2024, arXiv:2405.14664; Cheng et al. 2024, arXiv:2405.16441.
    """

    k: int
    injectivity_radius = 0.0

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.k,)

    @property
    def dim(self) -> int:
        return self.k - 1

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return self._sphere.expmap(_root(x), u / 2).square()

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        s, r = _root(x), _root(y)
        away = (y - x) / (r + s)
        v = self._sphere.proju(s, away)
        cosine = (s * r).sum(-1, keepdim=True)
        return 2 * arc_over_sine((v * v).sum(-1, keepdim=True), cosine) * v

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        s = _root(x)
        end = self._sphere.expmap(s, w / 2)
        carried = self._sphere.transp_along(s, w / 2, u)
        reflected = end < -32 * torch.finfo(end.dtype).eps  # a path that ends on a face has not yet been reflected
        return torch.where(reflected, -carried, carried)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The great circle ``cos(tθ) √x0 + sin(tθ) w/θ``, θ = |w|, and its velocity; t in [0, 1], before any face."""
        w = self.logmap(x0, x1) / 2
        s, square = _root(x0), (w * w).sum(-1, keepdim=True)
        t = t.reshape(t.shape + (1,) * (w.ndim - t.ndim))
        cos, sinc = cos_sinc(t**2 * square)
        return (cos * s + t * sinc * w).square(), 2 * (cos * w - t * sinc * square * s)

    def projx(self, x: Tensor) -> Tensor:
        positive = x.clamp_min(0)
        return positive / positive.sum(-1, keepdim=True)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return self._sphere.proju(_root(x), u)

    def embed(self, x: Tensor, u: Tensor) -> Tensor:
        return _root(x) * u

    def coordinates(self, x: Tensor) -> Tensor:
        return _root(x)

    def cut_locus(self, x0: Tensor, x1: Tensor) -> Tensor:
        return torch.zeros_like((x0 - x1)[..., 0], dtype=torch.bool)

    def prior(self) -> Uniform:
        """Uniform in the Riemannian volume ``π^{k/2}/Γ(k/2)``: ``Dirichlet(½, …, ½)``, the squares of a unit vector."""
        return Uniform(self, self.k / 2 * math.log(math.pi) - math.lgamma(self.k / 2), _squares)

    def log_volume_element(self, x: Tensor) -> Tensor:
        r"""``log √det g = −½ Σ log p_i`` ``(B, *E)``, of the metric in the coordinates ``p_1, …, p_{k−1}``.

        Densities here are with respect to the Riemannian volume. Add this to the log-density of one point for the
        usual one, with respect to Lebesgue measure ``dp_1 ⋯ dp_{k−1}``. Finite on faces, where it should be infinite.
        """
        return -_root(x).log().sum(-1)

    @property
    def _sphere(self) -> Sphere:
        return Sphere(self.k - 1)


def _root(p: Tensor) -> Tensor:
    """√p, moved up by ε² at most (ε the rounding of 1): its slope stays finite on faces, and consistent with embed."""
    return (p + torch.finfo(p.dtype).eps ** 4).sqrt()


def _squares(*shape: int, **kwargs: object) -> Tensor:
    return normal(*shape, **kwargs).square()  # type: ignore[arg-type]
