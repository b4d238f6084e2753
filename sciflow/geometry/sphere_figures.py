"""Points on the sphere, drawn: a map of all of it, and the globe from two sides. There are no coastlines."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Circle
from torch import Tensor

from ..training import Samples
from .density_figures import DATA, FLOW
from .study import Drawing, Splits

__all__ = ["directions", "geographic", "globes", "smoothed", "world"]

SPREAD = 2.0  # degrees, of the kernel that makes a density of points
LOWEST = 0.03
SCALE = LogNorm(LOWEST, 100)  # of densities over the uniform one
AREA = 4 * np.pi
DOTS = 1500  # points in one panel
PIXELS = 360  # of a globe, each way


def world(samples: Samples, splits: Splits, what: str, caveat: str) -> Drawing:
    """Mollweide maps: densities of data and samples above, single points of both below."""
    data = torch.cat([splits.train, splits.val, splits.test])
    drawn = _points(samples)
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    axes = figure.subplots(2, 2, subplot_kw={"projection": "mollweide"})
    longitude, latitude = np.radians(np.linspace(-180, 180, 241)), np.radians(np.linspace(-90, 90, 121))
    places = directions(*np.meshgrid(longitude, latitude))
    for axis, title, points in zip(axes[0], (f"all {len(data)} {what}", _many(drawn)), (data, drawn), strict=True):
        density = smoothed(points, places).clip(LOWEST)
        image = axis.pcolormesh(longitude, latitude, density, norm=SCALE, cmap="viridis", shading="gouraud")
        _graticule(axis, title)
    held_out, shown = splits.test[:DOTS], drawn[: min(DOTS, len(splits.test))]
    _dots(axes[1, 0], held_out, _relative(samples.test_logp), DATA)
    _dots(axes[1, 1], shown, _relative(samples.logq), FLOW)
    _graticule(axes[1, 0], f"{len(held_out)} held-out {what}")
    _graticule(axes[1, 1], f"as many samples of the flow ({len(shown)})")
    figure.colorbar(image, ax=axes, label="density / uniform density", shrink=0.7, extend="both")
    return Drawing(
        figure,
        f"Places on the earth (Mollweide's map, which keeps areas; lines every 30°; no coastlines). Above: density of "
        f"all {what} and of the samples, both smoothed by {SPREAD:g}°, over the uniform density, one logarithmic scale "
        f"for all panels. Below: single points. {_key(samples)}{caveat}",
    )


def globes(samples: Samples, splits: Splits, what: str, caveat: str) -> Drawing:
    """Orthographic views from above the middle of the data and from the opposite side, held-out points on top."""
    drawn = _points(samples)
    data = torch.cat([splits.train, splits.val, splits.test])
    front = _frame(data)
    figure = Figure(figsize=(10.4, 5.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, frame, title in zip(
        axes, (front, front * [[-1], [1], [-1]]), ("one side", "the other side"), strict=True
    ):
        image = _globe(axis, frame, drawn, splits.test[:DOTS])
        axis.set_title(title)
    figure.colorbar(image, ax=axes, label="density of the samples / uniform density", shrink=0.7, extend="both")
    return Drawing(
        figure,
        f"The globe from two opposite sides (orthographic; lines every 30°; the thick one is the equator): density of "
        f"the flow's {len(drawn)} samples, smoothed by {SPREAD:g}°, and {min(DOTS, len(splits.test))} held-out {what} "
        f"(orange dots) that it never saw.{caveat}",
    )


def smoothed(points: Tensor, places: np.ndarray, spread: float = SPREAD) -> np.ndarray:
    """Density over the uniform one at ``places (…, 3)``: a von Mises–Fisher kernel on each of ``points (N, 3)``.

    ``4π/N Σ_i κ / (2π (1 − e^{−2κ})) exp(κ(⟨x_i, y⟩ − 1))``, κ = 1/spread², ``spread`` in degrees.
    """
    kappa = np.radians(spread) ** -2
    centres, flat = points.double().numpy(), places.reshape(-1, 3)
    height = AREA * kappa / (2 * np.pi * -np.expm1(-2 * kappa))
    parts = np.array_split(flat, 1 + len(flat) * len(centres) // 10**7)
    values = np.concatenate([np.exp(kappa * (part @ centres.T - 1)).mean(1) for part in parts])
    return height * values.reshape(places.shape[:-1])


def directions(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Points ``(…, 3)`` of the unit sphere at angles in radians."""
    level = np.cos(latitude)
    return np.stack([level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)], -1)


def geographic(x: Tensor) -> np.ndarray:
    """Latitude and longitude ``(N, 2)`` in degrees, longitudes in [−180, 180], of points ``(N, 3)``."""
    east, north, up = x.double().numpy().T
    return np.degrees(np.stack([np.arctan2(up, np.hypot(east, north)), np.arctan2(north, east)], 1))


def _globe(axis: Axes, frame: np.ndarray, drawn: Tensor, held_out: Tensor) -> AxesImage:
    side = np.linspace(-1, 1, PIXELS)
    across, up = np.meshgrid(side, side)
    inside = across**2 + up**2 < 1
    towards = np.sqrt(np.where(inside, 1 - across**2 - up**2, 0))
    seen = np.stack([across, up, towards], -1) @ frame
    density = np.full(across.shape, np.nan)
    density[inside] = smoothed(drawn, seen[inside]).clip(LOWEST)
    image = axis.imshow(density, origin="lower", extent=(-1, 1, -1, 1), norm=SCALE, cmap="viridis")
    turn = np.radians(np.linspace(-180, 180, 361))
    for angle in np.radians(range(-60, 61, 30)):
        _line(axis, directions(turn, np.full_like(turn, angle)) @ frame.T, 1.1 if angle == 0 else 0.4)
    for angle in np.radians(range(0, 180, 30)):
        _line(axis, directions(np.full_like(turn, angle), turn) @ frame.T, 0.4)
    x, y, z = frame @ held_out.double().numpy().T
    axis.scatter(x[z > 0], y[z > 0], s=5, color=FLOW, edgecolor="white", linewidth=0.2)
    axis.add_patch(Circle((0, 0), 1, fill=False, color="0.3", linewidth=0.8))
    axis.axis("off")
    return image


def _line(axis: Axes, curve: np.ndarray, width: float) -> None:
    near = np.where(curve[:, 2:] > 0, curve[:, :2], np.nan)
    axis.plot(*near.T, color="white", linewidth=width, alpha=0.6)


def _dots(axis: Axes, x: Tensor, relative: np.ndarray | None, colour: str) -> None:
    """Single points on a map, coloured by their density where it is known."""
    latitude, longitude = np.radians(geographic(x).T)
    if relative is None:
        axis.scatter(longitude, latitude, s=3, color=colour, linewidth=0)
    else:
        order = np.argsort(relative[: len(x)])
        axis.scatter(
            longitude[order], latitude[order], s=4, c=relative[: len(x)][order], norm=SCALE, cmap="viridis", linewidth=0
        )


def _graticule(axis: Axes, title: str) -> None:
    axis.set_title(title)
    axis.set_facecolor("0.88")
    axis.set_xticks(np.radians(range(-150, 151, 30)), [])
    axis.set_yticks(np.radians(range(-60, 61, 30)))
    axis.grid(True, color="0.6", linewidth=0.4, alpha=0.6)
    axis.tick_params(labelsize=6, colors="0.4")


def _frame(x: Tensor) -> np.ndarray:
    """Rows: east, north and the view itself, from above the mean of the points ``(N, 3)``; north is up."""
    mean = x.double().mean(0).numpy() + 1e-9 * np.array([1.0, 0.0, 0.0])
    view = mean / np.linalg.norm(mean)
    east = np.cross([0.0, 0.0, 1.0], view) + 1e-9 * np.array([0.0, 1.0, 0.0])
    east /= np.linalg.norm(east)
    return np.stack([east, np.cross(view, east), view])


def _points(samples: Samples) -> Tensor:
    assert isinstance(samples.x, Tensor)
    return samples.x


def _relative(logp: Tensor | None) -> np.ndarray | None:
    """Densities over the uniform one."""
    return None if logp is None else np.exp(logp.double().numpy()) * AREA


def _many(drawn: Tensor) -> str:
    return f"{len(drawn)} samples of the flow"


def _key(samples: Samples) -> str:
    known = {"held-out points": samples.test_logp, "samples": samples.logq}
    coloured = [name for name, logp in known.items() if logp is not None]
    if not coloured:
        return ""
    return f"The {' and the '.join(coloured)} have the colour of their density under the flow, on the same scale. "
