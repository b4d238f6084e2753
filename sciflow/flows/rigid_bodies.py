"""Coupling layers of rigid bodies: places move by what the rotations are, rotations by what the places are."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import constraints

from ..manifolds.quaternion import conjugate, multiply
from .rigid_network import BodyTransformer
from .rigid_projective import ProjectiveLinear
from .spline import EqualEndsSpline
from .transform import Composed, ModuleTransform

__all__ = ["FromSites", "PlaceCoupling", "RotationCoupling", "Sites", "rigid_couplings"]

Bodies = Float[Tensor, "*batch N 7"]


class _BodyTransform(ModuleTransform):
    """Acts on bodies (…, N, 7): places in R³ and unit quaternions w, x, y, z. Volumes are those of R³ and of the Haar
    measure; a quaternion and its negative are the same body, and go to the same body."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.independent(constraints.real, 2)


class Sites(_BodyTransform):
    """Bodies of a crystal as they are seen from their sites: displacements over ``scale``, rotations from the site's.

    (x_i, q_i) ↦ ((x_i − s_i)/scale, s̄_i q_i); the first body stands at its site, which it does not leave, so that a
    crystal does not move as a whole: densities are with respect to the places of the others.

    Args:
        sites: (N, 7) of the perfect crystal.
        scale: of displacements, nm.
    """

    sites: Tensor

    def __init__(self, sites: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("sites", sites)
        self.scale = scale

    def call_and_ladj(self, x: Bodies) -> tuple[Bodies, Float[Tensor, "*batch"]]:
        x = x.to(self.sites.dtype)
        place = (x[..., :3] - self.sites[:, :3]) / self.scale
        turn = multiply(conjugate(self.sites[:, 3:]), x[..., 3:])
        return torch.cat((place, turn), -1), self._ladj(x)

    def inverse_and_ladj(self, y: Bodies) -> tuple[Bodies, Float[Tensor, "*batch"]]:
        y = y.to(self.sites.dtype)
        place = self.sites[:, :3] + self.scale * y[..., :3]
        turn = multiply(self.sites[:, 3:], y[..., 3:])
        return torch.cat((place, turn), -1), -self._ladj(y)

    def _ladj(self, x: Tensor) -> Tensor:
        return x.new_full(x.shape[:-2], -3 * (len(self.sites) - 1) * math.log(self.scale))


class FromSites(_BodyTransform):
    """The inverse of `Sites`, for flows from bodies to bodies."""

    def __init__(self, sites: Tensor, scale: float) -> None:
        super().__init__()
        self.seen = Sites(sites, scale)

    def call_and_ladj(self, x: Bodies) -> tuple[Bodies, Float[Tensor, "*batch"]]:
        return self.seen.inverse_and_ladj(x)

    def inverse_and_ladj(self, y: Bodies) -> tuple[Bodies, Float[Tensor, "*batch"]]:
        return self.seen.call_and_ladj(y)


class RotationCoupling(_BodyTransform):
    """Turns every body by a projective linear map of its quaternion that depends on the places of all bodies.

    See `ProjectiveLinear`: both ways and the log-determinant are in closed form. Starts as the contraction of rotation
    vectors near the identity by ``contraction``.

    Args:
        bodies: N.
        contraction: factor on small rotations.
        width, depth: of the transformer between bodies.
    """

    def __init__(self, bodies: int, contraction: float = 1.0, width: int = 48, depth: int = 2) -> None:
        super().__init__()
        self.network = BodyTransformer(bodies, 3, ProjectiveLinear.n_parameters, width, depth)
        start = torch.zeros(bodies, ProjectiveLinear.n_parameters)
        start[:, 0], start[:, 1:4] = -0.75 * math.log(contraction), 0.25 * math.log(contraction)
        self.start = nn.Parameter(start)

    def call_and_ladj(self, x: Bodies) -> tuple[Bodies, Float[Tensor, "*batch"]]:
        place, turn = self._parts(x)
        turn, ladj = self._map(place).call_and_ladj(turn)
        return torch.cat((place, turn), -1).view(x.shape), ladj.sum(-1).view(x.shape[:-2])

    def inverse_and_ladj(self, y: Bodies) -> tuple[Bodies, Float[Tensor, "*batch"]]:
        place, turn = self._parts(y)
        turn, ladj = self._map(place).inverse_and_ladj(turn)
        return torch.cat((place, turn), -1).view(y.shape), ladj.sum(-1).view(y.shape[:-2])

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.to(self.start.dtype).reshape(-1, *x.shape[-2:])
        return x[..., :3], x[..., 3:]

    def _map(self, place: Tensor) -> ProjectiveLinear:
        return ProjectiveLinear(self.start + self.network(place))


class PlaceCoupling(_BodyTransform):
    """Moves the places of all bodies but the first by affine maps and splines that depend on all rotations.

    y = S(e^s x + t), component by component, S an increasing rational-quadratic spline of [−bound, bound], the identity
    outside. The network reads the nine products of a rotation's quaternion with itself that its matrix is made of: the
    same for q and −q.

    Args:
        bodies: N.
        contraction: of displacements, at the start.
        bins: of the splines.
        bound: half-width of their box, in the units of x.
        width, depth: of the transformer between bodies.

    Source: Durkan et al. 2019 (arXiv:1906.04032).
    """

    def __init__(
        self,
        bodies: int,
        contraction: float = 1.0,
        bins: int = 8,
        bound: float = 6.0,
        width: int = 48,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.bins, self.bound, self.rows = bins, bound, 3 * bins + 1
        self.network = BodyTransformer(bodies, 10, 3 * self.rows, width, depth)
        start = torch.zeros(bodies, 3, self.rows)
        start[..., 0] = math.log(contraction)
        self.start = nn.Parameter(start)

    def call_and_ladj(self, x: Bodies) -> tuple[Bodies, Float[Tensor, "*batch"]]:
        place, turn = self._parts(x)
        log_scale, shift, spline = self._maps(turn)
        moved, ladj = self._bend(log_scale.exp() * place[:, 1:] + shift, spline.call_and_ladj)
        return self._whole(x, place, moved, turn), (ladj + log_scale).sum((1, 2)).view(x.shape[:-2])

    def inverse_and_ladj(self, y: Bodies) -> tuple[Bodies, Float[Tensor, "*batch"]]:
        place, turn = self._parts(y)
        log_scale, shift, spline = self._maps(turn)
        moved, ladj = self._bend(place[:, 1:], spline.inverse_and_ladj)
        moved = (-log_scale).exp() * (moved - shift)
        return self._whole(y, place, moved, turn), (ladj - log_scale).sum((1, 2)).view(y.shape[:-2])

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.to(self.start.dtype).reshape(-1, *x.shape[-2:])
        return x[..., :3], x[..., 3:]

    @staticmethod
    def _whole(x: Tensor, place: Tensor, moved: Tensor, turn: Tensor) -> Tensor:
        return torch.cat((torch.cat((place[:, :1], moved), 1), turn), -1).view(x.shape)

    def _maps(self, turn: Tensor) -> tuple[Tensor, Tensor, EqualEndsSpline]:
        i, j = torch.triu_indices(4, 4, device=turn.device)
        raw = self.start + self.network(turn[..., i] * turn[..., j]).unflatten(-1, (3, self.rows))
        log_scale, shift, bends = raw[:, 1:].split((1, 1, self.rows - 2), -1)
        widths, heights, slopes = bends.movedim(-1, 0).split((self.bins, self.bins, self.bins - 1))
        slopes = torch.cat((slopes, torch.zeros_like(slopes[:1])))  # one at both ends, where the identity goes on
        return log_scale.squeeze(-1), shift.squeeze(-1), EqualEndsSpline(widths, heights, slopes)

    def _bend(self, x: Tensor, direction) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        inside = x.abs() < self.bound
        unit, ladj = direction((x / (2 * self.bound) + 0.5).clamp(0, 1))
        return torch.where(inside, self.bound * (2 * unit - 1), x), torch.where(inside, ladj, 0.0)


def rigid_couplings(
    bodies: int,
    couplings: int = 4,
    contraction: float = 1.0,
    width: int = 48,
    depth: int = 2,
    bins: int = 8,
    seed: int = 0,
) -> Composed:
    """Layers that move places and rotations of bodies (…, N, 7) in turn, in units of order one around their sites.

    Args:
        bodies: N.
        couplings: pairs of layers.
        contraction: of displacements and small rotations by all layers together, at the start.
        width, depth: of the transformers.
        bins: of the splines.
        seed: names the initial weights.
    """
    each = contraction ** (1 / couplings)
    layers: list[ModuleTransform] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(couplings):
            layers.append(RotationCoupling(bodies, each, width, depth))
            layers.append(PlaceCoupling(bodies, each, bins, width=width, depth=depth))
    return Composed(*layers)
