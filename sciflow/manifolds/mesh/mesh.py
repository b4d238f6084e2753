"""Triangle meshes as manifolds."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...rng import uniform
from ..base import Manifold
from ..priors import Uniform
from .location import FaceGrid, build_grid, closest_in_face
from .spectrum import Biharmonic, Premetric, Spectrum, eigenfunctions
from .surface import Surface, build_surface
from .tracing import trace

__all__ = ["Mesh"]

_SEEN = 16  # eigenfunctions that a network reads


class SpectralTables(NamedTuple):
    """What depends on the spectrum, on one device in one dtype."""

    embedding: Tensor
    """``(V, K)``, ``√w_k φ_k``: the premetric is the distance of embedded points."""
    slopes: Tensor
    """``(V, 3, K)``: gradients of the embedding, means over the faces about a vertex by area."""
    seen: Tensor
    """``(V, 3 + m)``: what a network reads."""


@dataclass(frozen=True, eq=False, repr=False)
class Mesh(Manifold[Tensor]):
    """A triangle mesh, connected and orientable, with walls where it has a boundary.

    Points are ambient, ``(…, 3)``, on the surface; the operations find their face. Tangents are ambient vectors in the
    plane of the face. ``expmap`` follows straightest geodesics and slides along walls. There is no closed form for the
    geodesic between two points: ``dist`` is a spectral premetric, and ``PremetricPath`` takes the place of a geodesic.

    Args:
        vertices: positions ``(V, 3)``, each in some face.
        faces: indices of vertices ``(F, 3)``, numbered from 0.
        premetric: ``Biharmonic()`` or ``Diffusion(time)``.
        modes: eigenfunctions in the premetric.

    Raises:
        InputError: for a mesh that is none (faces of no area, edges of three faces, several components, one side).

    Source: Chen, Lipman 2023 (arXiv 2302.03660), section 3.2.
    """

    vertices: Any
    faces: Any
    premetric: Premetric = field(default_factory=Biharmonic)
    modes: int = 100
    has_logmap = False
    smooth = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices", np.array(self.vertices, dtype=float))
        object.__setattr__(self, "faces", np.array(self.faces, dtype=np.int64))
        object.__setattr__(self, "_beside", {})
        object.__setattr__(self, "injectivity_radius", 0.0 if self._surface.walls.any() else math.inf)

    def __repr__(self) -> str:
        return f"Mesh({len(self.vertices)} vertices, {len(self.faces)} faces, {self.premetric}, modes={self.modes})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_beside": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (3,)

    @property
    def dim(self) -> int:
        return 2

    @property
    def log_volume(self) -> float:
        """Logarithm of the area."""
        return math.log(float(self._surface.areas.sum()))

    @cached_property
    def spectrum(self) -> Spectrum:
        """Eigenvalues and eigenfunctions of the Laplacian, in float64."""
        return eigenfunctions(self._surface, self.modes)

    @cached_property
    def _surface(self) -> Surface:
        return build_surface(self.vertices, self.faces)

    @cached_property
    def _grid(self) -> FaceGrid:
        return build_grid(self._surface)

    def surface(self, like: Tensor) -> Surface:
        """The geometry of the faces on the device of ``like`` and in its dtype."""
        return self._kept("surface", like, lambda: self._surface.to(like))

    def grid(self, like: Tensor) -> FaceGrid:
        """The cells in which points are located, on the device of ``like`` and in its dtype."""
        return self._kept("grid", like, lambda: self._grid.to(like))

    def spectral_tables(self, like: Tensor) -> SpectralTables:
        """The embedding that makes the premetric, on the device of ``like`` and in its dtype."""
        return self._kept("spectrum", like, lambda: SpectralTables(*(part.to(like) for part in self._spectral)))

    def _kept(self, what: str, like: Tensor, make: Any) -> Any:
        key = (what, like.dtype, like.device)
        if key not in self._beside:  # type: ignore[attr-defined]
            with torch.inference_mode(False), torch.no_grad():
                self._beside[key] = make()  # type: ignore[attr-defined]
        return self._beside[key]  # type: ignore[attr-defined]

    @cached_property
    def _spectral(self) -> SpectralTables:
        surface, spectrum = self._surface, self.spectrum
        embedding = self.premetric.weights(spectrum.eigenvalues).sqrt() * spectrum.eigenfunctions
        slope = torch.einsum("fix,fik,f->fxk", surface.gradients, embedding[surface.faces], surface.areas)
        total = embedding.new_zeros(len(embedding), 3, embedding.shape[1])
        weight = embedding.new_zeros(len(embedding))
        for corner in surface.faces.T:
            total.index_add_(0, corner, slope)
            weight.index_add_(0, corner, surface.areas)
        area = float(surface.areas.sum())
        place = torch.as_tensor(self.vertices)
        centre = torch.einsum("fix,f->x", surface.corners, surface.areas) / (3 * area)
        scaled = (place - centre) / math.sqrt(area / (4 * math.pi))
        seen = torch.cat([scaled, math.sqrt(area) * spectrum.eigenfunctions[:, :_SEEN]], 1)
        return SpectralTables(embedding, total / weight[:, None, None], seen)

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The face ``(n,)`` closest to each of ``x (n, 3)``, and barycentric coordinates ``(n, 3)`` in its plane.

        Gradients pass through the coordinates, not through the choice of the face.
        """
        surface = self.surface(x)
        with torch.no_grad():
            face = self.grid(x).locate(surface, x.detach())
        return face, surface.barycentric(face, x)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """End of the straightest geodesic; at a wall it slides along, in a corner that holds it, it rests."""
        (x, u), shape = _rows(x, u)
        surface, face, ahead = self._ahead(x, u)
        last, to_end, _ = trace(surface, face, surface.barycentric(face, x.double()).detach(), ahead.detach())
        return surface.ambient(last, _apply(to_end, ahead)).to(x.dtype).reshape(shape)

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        """Carry ``u`` over the edges that the geodesic crosses, turned about each: an isometry, walls included."""
        (x, w, u), shape = _rows(x, w, u)
        surface, face, ahead = self._ahead(x, w)
        last, _, carry = trace(surface, face, surface.barycentric(face, x.double()).detach(), ahead.detach())
        rates = surface.components(face, u.double())
        return surface.ambient(last, _apply(carry, rates)).to(u.dtype).reshape(shape)

    def _ahead(self, x: Tensor, u: Tensor) -> tuple[Surface, Tensor, Tensor]:
        """Where ``x + u`` lies in the plane of the face of ``x``; in float64, as narrow faces amplify rounding."""
        face, _ = self.locate(x)
        surface = self.surface(x.double())
        return surface, face, surface.barycentric(face, x.double() + u.double())

    def logmap(self, x: Tensor, y: Tensor) -> NoReturn:
        """Refused: no closed form.

        Raises:
            InputError: always.
        """
        raise InputError("a mesh has no closed-form logarithm, geodesic or cut locus: use PremetricPath(mesh)")

    def cut_locus(self, x0: Tensor, x1: Tensor) -> NoReturn:
        """Refused, as ``logmap``."""
        self.logmap(x0, x1)

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """The premetric ``√Σ_k w_k (φ_k(x) − φ_k(y))²``, with φ linear in each face: a metric, of its own unit."""
        square = (self.embedded(x) - self.embedded(y)).square().sum(-1)
        apart = square > 0
        return torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)

    def squared_distances(self, x: Tensor, y: Tensor) -> Tensor:
        """``dist²`` of all pairs, summed over E: those of embedded points."""
        return torch.cdist(self.embedded(x).flatten(1), self.embedded(y).flatten(1)).square()

    def embedded(self, x: Tensor) -> Tensor:
        """``√w_k φ_k(x)``, ``(…, K)``: the premetric is the Euclidean distance of these."""
        return self._read(self.spectral_tables(x).embedding, x)

    def coordinates(self, x: Tensor) -> Tensor:
        """Position, scaled to a sphere's of radius one, and the first 16 eigenfunctions, of variance one.

        Two sides of a thin wall lie close in space and far apart in the eigenfunctions.
        """
        return self._read(self.spectral_tables(x).seen, x)

    def interpolate(self, values: Tensor, x: Tensor) -> Tensor:
        """The function that is linear in each face and takes ``values (V, …)`` at the vertices, at ``x (…, 3)``."""
        return self._read(values.to(x), x)

    def _read(self, values: Tensor, x: Tensor) -> Tensor:
        (flat,), shape = _rows(x)
        face, b = self.locate(flat)
        at_corners = values[self.surface(x).faces[face]]
        return torch.einsum("ni,ni...->n...", b, at_corners).reshape(*shape[:-1], *values.shape[1:])

    def projx(self, x: Tensor) -> Tensor:
        (flat,), shape = _rows(x)
        surface = self.surface(x)
        face, _ = self.locate(flat)
        b = closest_in_face(flat, surface.corners[face], surface.gradients[face])
        return surface.ambient(face, b).reshape(shape)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        (flat,), shape = _rows(x)
        face, _ = self.locate(flat)
        normal = self.surface(x).normals[face].reshape(shape)
        return u - (normal * u).sum(-1, keepdim=True) * normal

    def tangent(self, x: Tensor, w: Tensor) -> Tensor:
        """The field of continuous flux that a continuous ambient ``w`` stands for; none of it through walls.

        Orthogonal projection would lose mass, or make it, at every edge. See ``Surface.conforming``.
        """
        (x, w), shape = _rows(x, w)
        face, b = self.locate(x)
        surface = self.surface(x)
        return surface.conforming(face, b, surface.unwalled(face, b, w)).reshape(shape)

    def prior(self) -> Uniform:
        return Uniform(self, self.log_volume, self._scatter)

    def _scatter(self, *shape: int, **kwargs: Any) -> Tensor:
        """Points of uniform density by area, from three uniform numbers each: one for the face, two for the place."""
        which, r, s = uniform(*shape, **kwargs).unbind(-1)
        surface = self.surface(which)
        share = surface.areas.double().cumsum(0)
        face = torch.searchsorted(share, which.double() * share[-1], right=True).clamp_max(len(share) - 1)
        r, s = torch.where(r + s > 1, 1 - r, r), torch.where(r + s > 1, 1 - s, s)
        b = torch.stack([1 - r - s, r, s], -1)
        return surface.ambient(face.flatten(), b.flatten(0, -2)).reshape(shape)


def _rows(*states: Tensor) -> tuple[list[Tensor], torch.Size]:
    """States of one shape, broadcast, as rows ``(n, 3)``, and that shape."""
    whole = torch.broadcast_tensors(*states)
    return [state.reshape(-1, 3) for state in whole], whole[0].shape


def _apply(matrix: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("nij,nj->ni", matrix, b)
