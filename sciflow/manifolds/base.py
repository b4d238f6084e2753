"""What a manifold is: the operations every path, objective and sampler is written with."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from ..rng import Generator, normal
from .pairs import over_rows

__all__ = ["Manifold", "Prior", "State", "center", "leaves", "scale", "tree_map"]

State = Tensor | dict[str, Tensor]
S = TypeVar("S", Tensor, dict[str, Tensor])


def tree_map(fn: Callable[..., Any], *states: Any) -> Any:
    """Apply ``fn`` to tensors, or factor by factor to states of a :class:`Product` (dicts with the same keys)."""
    if isinstance(states[0], dict):
        return {name: fn(*(state[name] for state in states)) for name in states[0]}
    return fn(*states)


def leaves(state: Any) -> list[Tensor]:
    """The tensors of a state: itself, or its factors."""
    return list(state.values()) if isinstance(state, dict) else [state]


def scale(factor: Tensor, u: Any) -> Any:
    """Tangents times one number each sample, ``factor (B,)`` (or any leading part of their shape)."""
    return tree_map(lambda v: factor.reshape(factor.shape + (1,) * (v.ndim - factor.ndim)) * v, u)


def center(x: Tensor) -> Tensor:
    """Subtract the mean over the particles of ``x (…, N, d)``."""
    return x - x.mean(dim=-2, keepdim=True)


@runtime_checkable
class Prior(Protocol[S]):
    """A density that can be drawn from; the same object serves training and sampling."""

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> S:
        """Draw points of shape ``(*shape, *point_shape)``, ``shape = (B, *E)``."""
        ...

    def log_prob(self, x: S) -> Tensor:
        """Log-density ``(B,)`` of ``x (B, *E, *point_shape)`` with respect to the Riemannian volume, summed over E."""
        ...


class Manifold(ABC, Generic[S]):
    """A Riemannian manifold with closed-form geodesics.

    Points are tensors ``(B, *E, *point_shape)``, tangents ``(B, *E, *tangent_shape)``; a :class:`Product` takes dicts
    of both. Leading dimensions are free and broadcast. Every operation is smooth wherever the mathematics is, and has
    finite gradients where it is not (coincident points, cut loci).
    """

    #: Radius of the balls on which ``expmap`` is one to one; 0 where a boundary comes arbitrarily close.
    injectivity_radius: float = float("inf")

    #: Whether the geodesic between two points has a closed form. Where it has none, ``logmap``, ``geodesic``,
    #: ``transp`` and ``cut_locus`` raise, and ``dist`` is another metric.
    has_logmap: bool = True

    #: Whether fields on it are smooth along their flow lines. Where they are not (edges of a mesh), adaptive steps
    #: would shrink at every kink.
    smooth: bool = True

    @property
    @abstractmethod
    def point_shape(self) -> Any:
        """Shape of one point (a dict of shapes on a product)."""

    @property
    def tangent_shape(self) -> Any:
        """Shape of one tangent vector."""
        return self.point_shape

    @property
    @abstractmethod
    def dim(self) -> int:
        """Intrinsic dimension of one point."""

    @abstractmethod
    def expmap(self, x: S, u: S) -> S:
        """End of the geodesic that leaves ``x`` with velocity ``u``, after unit time."""

    @abstractmethod
    def logmap(self, x: S, y: S) -> S:
        """Initial velocity of the shortest geodesic from ``x`` to ``y``; on the cut locus always the same one."""

    @abstractmethod
    def transp_along(self, x: S, w: S, u: S) -> S:
        """Parallel transport of ``u`` from ``x`` along ``s ↦ expmap(x, s·w)`` to ``expmap(x, w)``."""

    @abstractmethod
    def projx(self, x: S) -> S:
        """Project ambient coordinates to the manifold."""

    @abstractmethod
    def proju(self, x: S, u: S) -> S:
        """Project orthogonally to the tangent space at ``x``."""

    def tangent(self, x: S, w: S) -> S:
        """The tangents at ``x`` that the ambient vectors ``w`` of a network stand for; here their projection."""
        return self.proju(x, w)

    @abstractmethod
    def cut_locus(self, x0: S, x1: S) -> Tensor:
        """Whether several shortest geodesics join ``x0`` to ``x1``, to rounding: bool ``(B, *E)``."""

    @abstractmethod
    def prior(self) -> Prior[S]:
        """The canonical prior: uniform if compact, else standard normal."""

    def inner(self, x: S, u: S, v: S) -> Tensor:
        """Riemannian inner product ``(B, *E)`` of tangents at ``x``; here the dot product of their coordinates."""
        return (u * v).flatten(-len(self.tangent_shape)).sum(-1)  # type: ignore[operator]

    def embed(self, x: S, u: S) -> S:
        """``d/dε expmap(x, ε·u)`` at 0 in the ambient coordinates of ``x``; ``u`` itself where tangents are ambient."""
        return u

    def coordinates(self, x: S) -> S:
        """Smooth and single-valued functions of the point, ``(B, *E, F)``, that separate points: what networks read."""
        return x.flatten(-len(self.point_shape))  # type: ignore[attr-defined]

    def log_volume_rate(self, x: S, u: S) -> Tensor | float:
        """``d/dε log √det g`` along the tangent ``u``, ``(B, *E)``, of the metric in the coordinates of tangents.

        Zero where tangents are dot-product coordinates of a flat ambient space, or of a left-invariant frame.
        """
        return 0.0

    def origin(self) -> Tensor:
        """A distinguished point in float64, where wrapped normals lie by default; here all coordinates are zero."""
        return torch.zeros(self.point_shape, dtype=torch.float64)

    def log_det_exp(self, x: S, u: S) -> Tensor:
        """``log |det d exp_x(u)|``, ``(B, *E)``: how ``expmap`` stretches volume; zero where the metric is flat."""
        return torch.zeros_like(self.inner(x, u, u))

    def preimages(self, x: S, u: S, reach: float) -> tuple[Tensor, Tensor]:
        """Squared length and ``log_det_exp`` of every tangent at ``x`` that ends where the shortest, ``u``, does.

        Both ``(K, B, *E, F)``: K tangents, at least all of length up to ``reach``; F factors that are independent
        of each other (the angles of a torus), else one. Here ``u`` alone.
        """
        return self.inner(x, u, u)[None, ..., None], self.log_det_exp(x, u)[None, ..., None]

    def dist(self, x: S, y: S) -> Tensor:
        """Geodesic distance ``(B, *E)``; its gradient at ``x = y`` is zero."""
        u = self.logmap(x, y)
        square = self.inner(x, u, u)
        apart = square != 0  # true of what is not a number, which must not pass for zero
        return torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)

    def squared_distances(self, x: S, y: S) -> Tensor:
        """``dist²`` of all pairs of ``x (n, *E, *point_shape)`` and ``y (m, …)``, summed over E: ``(n, m)``."""
        return over_rows(lambda a, b: self.dist(a, b).square(), x, y)  # type: ignore[arg-type]

    def transp(self, x: S, y: S, u: S) -> S:
        """Parallel transport of ``u`` from ``x`` to ``y`` along the geodesic of ``logmap(x, y)``."""
        return self.transp_along(x, self.logmap(x, y), u)

    def geodesic(self, x0: S, x1: S, t: Tensor) -> tuple[S, S]:
        """Point ``x_t`` and velocity ``u_t`` of the shortest geodesic from ``x0`` (t=0) to ``x1`` (t=1).

        ``t`` is ``(B,)`` (or any leading part of the state's shape). On the cut locus a shortest geodesic is chosen
        deterministically: the velocity never vanishes between distinct points.
        """
        velocity = self.logmap(x0, x1)
        travelled = scale(t, velocity)
        return self.expmap(x0, travelled), self.transp_along(x0, travelled, velocity)

    def random(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> S:
        """Draw ``(*shape, *point_shape)`` from the canonical prior."""
        return self.prior().sample(*shape, generator=generator, dtype=dtype, device=device)

    def randn_tangent(self, x: S, generator: Generator = None) -> S:
        """Standard normal tangent vectors at ``x``."""
        points: Tensor = x  # type: ignore[assignment]
        shape = points.shape[: points.ndim - len(self.point_shape)]
        noise = normal(*shape, *self.tangent_shape, generator=generator, dtype=points.dtype, device=points.device)
        return self.proju(x, noise)  # type: ignore[arg-type]
