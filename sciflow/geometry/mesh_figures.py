"""Points on surfaces, drawn: shaded surfaces from two sides, and mazes in plan."""

import math

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from ..manifolds import Mesh, PiecewiseLinear
from ..paths import PremetricPath
from ..rng import step_generator
from ..training import Samples
from .density_figures import DATA, FLOW
from .mesh_floor import diffused
from .study import Drawing, Splits

__all__ = ["frame", "plan", "views", "visible"]

SPREAD = 0.08  # of the kernel that makes a density of points, in radii of the sphere of the same area
DOTS = 600  # points in one panel
PATHS = 40
TIMES = 60  # points of a path
ANGLES = ((35, 15), (215, 15))  # degrees of the viewpoints: about the y axis, which is up, and above the x–z plane
BUFFER = 150  # cells of the depth buffer, each way
LIGHT = np.array([0.4, 0.6, 0.7])


def views(mesh: Mesh, samples: Samples, splits: Splits, target: PiecewiseLinear | None) -> Drawing:
    """The surface from two sides (a row each): densities as colour, single points as dots."""
    assert isinstance(samples.x, Tensor)
    held_out, drawn = splits.test[:DOTS], samples.x[: min(DOTS, len(splits.test))]
    data = torch.cat([splits.train, splits.val, splits.test])
    panels: list[tuple[str, Tensor, Tensor | None, str]] = [
        (f"all {len(data)} data", _smoothed(mesh, data), None, DATA),
        (f"{len(samples.x)} samples of the flow", _smoothed(mesh, samples.x), None, FLOW),
        (f"{len(held_out)} held-out data", torch.zeros(len(mesh.vertices)), held_out, DATA),
        (f"as many samples ({len(drawn)})", torch.zeros(len(mesh.vertices)), drawn, FLOW),
    ]
    if target is not None:
        panels = [("known density", _relative(mesh, target), None, ""), *panels[1:]]
    scale = Normalize(0, float(np.quantile(panels[0][1].numpy(), 0.995)))
    figure = Figure(figsize=(3.2 * len(panels) + 0.8, 6.4), layout="constrained")
    axes = figure.subplots(2, len(panels))
    for axis, panel in zip(axes[0], panels, strict=True):
        axis.set_title(panel[0], fontsize=10)
    for row, (azimuth, height) in zip(axes, ANGLES, strict=True):
        turn = frame(azimuth, height)
        for axis, (_, density, points, colour) in zip(row, panels, strict=True):
            _surface(axis, mesh, turn, density.numpy(), scale, plain=points is not None)
            if points is not None:
                x = points.double().numpy()[visible(mesh, points, turn)] @ turn.T
                axis.plot(x[:, 0], x[:, 1], ".", color=colour, ms=2.5, rasterized=True)
    figure.colorbar(
        ScalarMappable(scale, "viridis"), ax=axes, label="density / uniform density", shrink=0.6, extend="max"
    )
    exact = "the known density" if target is not None else f"the density of all {len(data)} data"
    return Drawing(
        figure,
        f"The surface from two opposite sides (a row each). Colour: {exact} and that of the samples, over the uniform "
        f"density, one scale; densities of points are smoothed by heat over the surface ({SPREAD:g} radii of a sphere "
        "of its area). Dots: held-out data and as many samples, those that can be seen from there.",
    )


def plan(
    mesh: Mesh, samples: Samples, splits: Splits, source: PiecewiseLinear | None, target: PiecewiseLinear | None
) -> Drawing:
    """A flat surface from above, with its walls: density, held-out data, samples, and paths to them."""
    assert isinstance(samples.x, Tensor)
    prior = source or mesh.prior()
    ends = samples.x[:PATHS].double()
    starts = prior.sample(len(ends), generator=step_generator(0, 8), dtype=torch.float64)
    times = torch.linspace(0, 1, TIMES, dtype=torch.float64).expand(len(ends), -1)
    paths, reached = PremetricPath(mesh).along(starts, ends, times)
    data = torch.cat([splits.train, splits.val, splits.test])
    density = _smoothed(mesh, data) if target is None else _relative(mesh, target)
    figure = Figure(figsize=(13.5, 3.7), layout="constrained")
    axes = figure.subplots(1, 4)
    image = axes[0].tripcolor(*mesh.vertices[:, :2].T, mesh.faces, density.numpy(), shading="gouraud", cmap="viridis")
    figure.colorbar(image, ax=axes[0], label="density / uniform density", shrink=0.8)
    n = min(3 * DOTS, len(splits.test), len(samples.x))
    for axis, points, colour in ((axes[1], splits.test[:n], DATA), (axes[2], samples.x[:n], FLOW)):
        axis.plot(points[:, 0], points[:, 1], ".", color=colour, ms=2, alpha=0.5, rasterized=True)
    axes[3].add_collection(LineCollection(list(paths.x_t[reached][..., :2].numpy()), colors="0.5", lw=0.6))
    axes[3].plot(starts[:, 0], starts[:, 1], ".", color="black", ms=4, label="source")
    axes[3].plot(ends[:, 0], ends[:, 1], ".", color=FLOW, ms=4, label="samples")
    axes[3].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.02), ncols=2)
    titles = ("density of the data" if target is None else "known density", f"{n} held-out data", f"{n} samples")
    for axis, title in zip(axes, (*titles, "paths of the training"), strict=True):
        axis.add_collection(LineCollection(list(_walls(mesh)), colors="black", lw=1.2))
        axis.set(title=title, aspect="equal", xticks=[], yticks=[])
        axis.autoscale_view()
        axis.axis("off")
    begins = "one room" if source is not None else "everywhere"
    return Drawing(
        figure,
        f"The surface from above; black lines are walls. The flow begins {begins}. From the left: the density over the "
        f"uniform one, held-out data, as many samples, and paths down the premetric from draws of the source to "
        f"{int(reached.sum())} of the samples, as training follows them.",
    )


def frame(azimuth: float, height: float) -> np.ndarray:
    """Rows: right, up and towards the viewer, from an azimuth about the y axis and a height above its plane, in °."""
    a, h = math.radians(azimuth), math.radians(height)
    towards = np.array([math.sin(a) * math.cos(h), math.sin(h), math.cos(a) * math.cos(h)])
    right = np.array([math.cos(a), 0.0, -math.sin(a)])
    return np.stack([right, np.cross(towards, right), towards])


def visible(mesh: Mesh, x: Tensor, turn: np.ndarray) -> np.ndarray:
    """Which points ``x (N, 3)`` of the surface no other part of it hides, by a buffer of depths."""
    size = math.exp(mesh.log_volume / 2)
    n = math.ceil(math.sqrt(20 * BUFFER**2 / len(mesh.faces)))
    i, j = (k.ravel() for k in np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"))
    lattice = np.stack([i, j, n - i - j], 1)[i + j <= n] / n
    cover = np.einsum("li,fix->flx", lattice, mesh.vertices[mesh.faces] @ turn.T).reshape(-1, 3)
    seen = x.double().numpy() @ turn.T
    low, span = cover.min(0), np.ptp(cover, axis=0).max()
    cell = np.clip(((cover - low) / span * BUFFER).astype(int), 0, BUFFER - 1)
    nearest = np.full((BUFFER, BUFFER), -np.inf)
    np.maximum.at(nearest, (cell[:, 0], cell[:, 1]), cover[:, 2])
    own = np.clip(((seen - low) / span * BUFFER).astype(int), 0, BUFFER - 1)
    shown: np.ndarray = seen[:, 2] >= nearest[own[:, 0], own[:, 1]] - 0.03 * size
    return shown


def _surface(axis: Axes, mesh: Mesh, turn: np.ndarray, density: np.ndarray, scale: Normalize, plain: bool) -> None:
    """Faces from back to front, each in the colour of its density, shaded by a light above the viewer's shoulder."""
    faces = mesh.faces
    corners = mesh.vertices[faces] @ turn.T
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals *= np.sign(normals[:, 2:] + 1e-12)
    shade = 0.55 + 0.45 * np.clip(normals @ (LIGHT / np.linalg.norm(LIGHT)), 0, 1)
    colour = np.full((len(faces), 3), 0.92) if plain else colormaps["viridis"](scale(density[faces].mean(1)))[:, :3]
    order = corners[:, :, 2].mean(1).argsort()
    shaded = np.clip(colour * shade[:, None], 0, 1)[order]
    axis.add_collection(PolyCollection(corners[order, :, :2], facecolors=shaded, edgecolors=shaded, linewidths=0.3))
    axis.set(aspect="equal")
    axis.autoscale_view()
    axis.axis("off")


def _walls(mesh: Mesh) -> np.ndarray:
    """Ends ``(n, 2, 2)`` of the edges of one face."""
    sides = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    edges, count = np.unique(sides, axis=0, return_counts=True)
    return mesh.vertices[edges[count == 1]][..., :2]


def _relative(mesh: Mesh, target: PiecewiseLinear) -> Tensor:
    surface = mesh.surface(target.values)
    mass = float((surface.areas[:, None] / 3 * target.values[surface.faces]).sum())
    return target.values / mass * math.exp(mesh.log_volume)


def _smoothed(mesh: Mesh, x: Tensor) -> Tensor:
    area = math.exp(mesh.log_volume)
    return diffused(mesh, x, SPREAD**2 / 2 * area / (4 * math.pi)) * area
