"""Premetric paths: flow matching where no geodesic has a closed form."""

import torch
from torch import Tensor

from ..manifolds import Mesh
from ..manifolds.mesh.surface import Surface
from ..rng import Generator
from .path import PathSample
from .schedules import Linear, Schedule

__all__ = ["PremetricPath"]

_FLATTEST = 0.01  # least slope of the distance that a velocity trusts, in units of d(x0, x1) over the size of the mesh
_NEAR = 2.0  # of the distance of a point to the corners of its face: there the straight line is the way
_ASIDE = 1e-9  # of a segment
_LOOPS = 5  # faces that a path may cross, in square roots of their number


class PremetricPath:
    """The path that goes straight down the mesh's premetric d: ``d(x_t, x1) = (1 − κ(t)) d(x0, x1)``, exactly.

    Its velocity points along a direction ``r`` of descent, as fast as the law asks for:
    ``u_t = κ̇ d(x0, x1) r / (−∇d·r)``. With ``r = −∇d`` that is ``−κ̇ d ∇d / ((1 − κ) |∇d|²)``, the velocity of the
    source. The gradient of a function that is linear in each face jumps at every edge, and paths would stick to
    valleys between faces; so ``r`` follows the means of the gradient around the vertices, interpolated, and turned
    into each face such that no edge is met from both sides (``Surface.conforming``). In the face of ``x1`` it points
    there.

    No time steps: a path is a straight segment in each face that it crosses, along which ``d²`` is a parabola and the
    level is met in closed form. ``u_t`` is the derivative of the point by ``t`` of this very path, so that the flow
    that is learnt carries the noise to the data, however coarse the mesh. At a wall the path slides along. Where
    ``∇d`` vanishes, the speed is bounded, and the path may stay behind its level.

    Source: Chen, Lipman 2023 (arXiv 2302.03660), section 3.2.
    """

    def __init__(self, manifold: Mesh, schedule: Schedule = Linear()) -> None:
        self.manifold = manifold
        self.schedule = schedule

    @torch.no_grad()
    def sample(self, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> PathSample:
        """Point and velocity at times ``t (B,)``; the path is fixed by its ends, so ``generator`` goes unused."""
        times = _each(t, x0)
        descent = _Descent(self.manifold, x0.reshape(-1, 3), x1.reshape(-1, 3))
        descent.run(descent.distance * (1 - self.schedule.kappa(times)))
        rate = self.schedule.dkappa(times) * descent.distance
        x_t, u_t = descent.point(descent.all), descent.velocity(rate, descent.all)
        return PathSample(x_t.reshape(x0.shape), u_t.reshape(x0.shape), x0, x1, t)

    @torch.no_grad()
    def along(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[PathSample, Tensor]:
        """Points and velocities ``(n, T, 3)`` at rising times ``t (n, T)`` of one path each, at the price of one.

        ``x0`` and ``x1 (n, 3)``. With them ``(n,)``: whether a path kept to its levels; others rest in a well of d.
        """
        descent = _Descent(self.manifold, x0, x1)
        kappa, rate = self.schedule.kappa(t), self.schedule.dkappa(t) * descent.distance[:, None]
        x_t, u_t, reached = descent.visit(descent.distance[:, None] * (1 - kappa), rate)
        return PathSample(x_t, u_t, x0, x1, t), reached

    @torch.no_grad()
    def velocity(self, x1_hat: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """``κ̇ d r / ((1 − κ) (−∇d·r))`` at times ``t (B,)``, with ``d = d(x_t, x1_hat)``: down to the predicted end.

        The prediction is moved to the mesh. 1 − κ is floored at the dtype's epsilon.
        """
        times = _each(t, x_t)
        descent = _Descent(self.manifold, x_t.reshape(-1, 3), self.manifold.projx(x1_hat).reshape(-1, 3))
        descent.run(descent.distance)
        ahead = (1 - self.schedule.kappa(times)).clamp_min(torch.finfo(t.dtype).eps)
        rate = self.schedule.dkappa(times) / ahead * descent.distance
        return descent.velocity(rate, descent.all).reshape(x_t.shape)


def _each(t: Tensor, x: Tensor) -> Tensor:
    """Times of the samples ``(B,)``, for each of their points."""
    return t.to(x).reshape(-1, *(1,) * (x.ndim - 2)).expand(x.shape[:-1]).flatten()


class _Descent:
    """Points ``x0 (n, 3)`` on their way down to ``x1 (n, 3)``: faces, barycentric coordinates, directions."""

    def __init__(self, mesh: Mesh, x0: Tensor, x1: Tensor) -> None:
        self.surface: Surface = mesh.surface(x0)
        self.embedding, self.slopes, _ = mesh.spectral_tables(x0)
        self.face, b = mesh.locate(x0)
        self.goal, goal_b = mesh.locate(x1)
        self.b, self.goal_b = _inside(b), _inside(goal_b)
        self.target = torch.einsum("ni,nik->nk", self.goal_b, self.embedding[self.surface.faces[self.goal]])
        self.entry = torch.full_like(self.face, -1)
        self.towards = torch.zeros_like(self.b)
        self.slope = torch.zeros_like(self.b[:, 0])
        self.all = torch.arange(len(b), device=b.device)
        self.distance = self._measure(self.all)[2]
        around = self.embedding[self.surface.faces[self.goal]] - self.target[:, None]
        self.near = _NEAR * around.norm(dim=-1).amax(1)
        self.least = _FLATTEST * self.distance / self.surface.areas.sum().sqrt()

    def run(self, level: Tensor) -> None:
        """Go down to ``d = level (n,)``; each round takes every point to its level or across its face."""
        on = self.all
        for _ in range(self.rounds):
            on = on[self._advance(on, level[on])]
            if not len(on):
                return

    def visit(self, levels: Tensor, rates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points and velocities ``(n, T, 3)`` at falling levels ``(n, T)``; who came to the last of them ``(n,)``."""
        n, times = levels.shape
        on, turn = self.all, torch.zeros_like(self.all)
        x, u = (levels.new_zeros(n, times, 3) for _ in range(2))
        for _ in range(self.rounds + times):
            before = self.b[on], self.face[on], self.entry[on]
            there = ~self._advance(on, levels[on, turn[on]])
            at = on[there]
            x[at, turn[at]], u[at, turn[at]] = self.point(at), self.velocity(rates[at, turn[at]], at)
            # the next level is met from where this face was entered: the path is the same whoever looks at it
            self.b[at], self.face[at], self.entry[at] = (part[there] for part in before)
            turn[at] += 1
            on = on[turn[on] < times]
            if not len(on):
                break
        return x, u, turn == times

    @property
    def rounds(self) -> int:
        """Segments after which a path is given up."""
        return int(_LOOPS * len(self.surface.areas) ** 0.5)

    def point(self, on: Tensor) -> Tensor:
        return self.surface.ambient(self.face[on], self.b[on])

    def velocity(self, rate: Tensor, on: Tensor) -> Tensor:
        """Along the last segments of ``on (m,)``, such that d falls at ``rate (m,)``."""
        along = self.surface.ambient(self.face[on], self.towards[on])
        slope = torch.maximum(-self.slope[on], self.least[on] * along.norm(dim=-1))
        return torch.where(slope > 0, rate / torch.where(slope > 0, slope, 1.0), 0.0)[:, None] * along

    def _measure(self, on: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Corners relative to the target ``(m, 3, K)``, their Gram matrix (d² is its quadratic form), and d."""
        corners = self.embedding[self.surface.faces[self.face[on]]] - self.target[on, None]
        gram = corners @ corners.mT
        return corners, gram, _form(gram, self.b[on], self.b[on]).clamp_min(0).sqrt()

    def _advance(self, on: Tensor, level: Tensor) -> Tensor:
        """One segment of each point; which of them have not come to their level."""
        corners, gram, d = self._measure(on)
        face, b = self.face[on], self.b[on]
        towards = self._direction(on, corners, gram, d)
        first, second = _form(gram, b, towards), _form(gram, towards, towards)
        # ½d² along the segment is ½d² + first·s + ½ second·s²; in the face of the target d falls evenly to zero
        home = face == self.goal[on]
        fall = (d - level).clamp_min(0)
        square = first * first - fall * (d + level) * second
        meets = home | (fall == 0) | ((first < 0) & (square >= 0))
        root = fall * (d + level) / torch.where(meets & (fall > 0), square.clamp_min(0).sqrt() - first, 1.0)
        root = torch.where(home, fall / torch.where(home & (fall > 0), d, 1.0), root)
        falling = towards < 0
        share = torch.where(falling, b / torch.where(falling, -towards, 1.0), torch.inf)
        # around a vertex both edges there are left at once: go on, not back
        share = torch.where(self.entry[on, None] == torch.arange(3, device=b.device), share + _ASIDE, share)
        leave, edge = share.min(-1)
        crossing = (leave < torch.inf) & ~(meets & (root <= leave)) & ~home
        step = torch.where(crossing, leave, torch.where(meets, root, 0.0))
        self.towards[on] = towards
        self.slope[on] = torch.where(home, -d, (first + second * step) / torch.where(level > 0, level, 1.0))
        b = _inside(b + step[:, None] * towards)
        self.b[on], self.face[on], self.entry[on] = self._cross(face, b, edge, crossing)
        return crossing

    def _direction(self, on: Tensor, corners: Tensor, gram: Tensor, d: Tensor) -> Tensor:
        """Rates of the barycentric coordinates downhill: by the interpolated gradient, or to a target that is near."""
        surface, face, b = self.surface, self.face[on], self.b[on]
        slopes = torch.einsum("nixk,nik->nix", self.slopes[surface.faces[face]], corners)
        chord = surface.ambient(self.goal[on], self.goal_b[on]) - surface.ambient(face, b)
        w = torch.where((d <= self.near[on])[:, None], chord, -torch.einsum("ni,nix->nx", b, slopes))
        towards = surface.components(face, surface.conforming(face, b, w))
        for i in range(3):
            blocked = surface.walls[face, i] & (b[:, i] <= 0) & (towards[:, i] < 0)
            along = torch.einsum("nij,nj->ni", surface.unfold[face, i], towards)
            # past the end of the wall and uphill: this is the second wall of a corner, that leads down the other way
            back = ((b <= 0) & (along < 0)).any(-1) & (_form(gram, b, along) > 0)
            along = torch.where(back[:, None], -along, along)
            towards = torch.where(blocked[:, None], along, towards)
        return torch.where((face == self.goal[on])[:, None], self.goal_b[on] - b, towards)

    def _cross(self, face: Tensor, b: Tensor, edge: Tensor, crossing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same points in the faces across their edges, where they cross one that is no wall; how they came in."""
        rows = torch.arange(len(face), device=face.device)
        b = torch.where(crossing[:, None] & (torch.arange(3, device=face.device) == edge[:, None]), 0.0, b)
        over = crossing & ~self.surface.walls[face, edge]
        there, entry = self.surface.neighbours[face, edge], self.surface.entries[face, edge]
        turned = torch.zeros_like(b)
        turned[rows, (entry + 1) % 3] = b[rows, (edge + 2) % 3]
        turned[rows, (entry + 2) % 3] = b[rows, (edge + 1) % 3]
        return torch.where(over[:, None], turned, b), torch.where(over, there, face), torch.where(over, entry, -1)


def _inside(b: Tensor) -> Tensor:
    """Barycentric coordinates that rounding left outside, put back."""
    b = b.clamp_min(0)
    return b / b.sum(-1, keepdim=True)


def _form(gram: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("ni,nij,nj->n", a, gram, b)
