"""Rotations, drawn: where they take the first axis, and by which angle they are tilted about it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from ..manifolds.quaternion import about, multiply, to_matrix
from ..training import Samples
from .density_figures import same_number
from .study import Drawing, Splits

__all__ = ["angles", "axis_density", "from_hopf", "hopf", "mollweide"]

# Okabe & Ito's palette, closed to a circle.
TILT = LinearSegmentedColormap.from_list("tilt", ["#0072B2", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2"])
DOTS = 2000
DIRECTIONS, TILTS = 3000, 24  # of the grid on which the known density is shown
BINS = 18  # of sin(latitude); twice as many of the longitude
FINE = 4  # the known density's grid is finer by this


def hopf(q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Longitude and latitude of the rotated x axis and the tilt about it, in radians.

    ``R = R_z(longitude) R_y(−latitude) R_x(tilt)``. The volume of SO(3) is that of the sphere times that of the tilt.
    """
    r = to_matrix(q)
    tilt = torch.atan2(r[..., 2, 1], r[..., 2, 2])
    return torch.atan2(r[..., 1, 0], r[..., 0, 0]), r[..., 2, 0].clamp(-1, 1).asin(), tilt


def from_hopf(longitude: Tensor, latitude: Tensor, tilt: Tensor) -> Tensor:
    """The quaternions of :func:`hopf`."""
    turns = zip((longitude, -latitude, tilt), (3, 2, 1), strict=True)
    about_z, about_y, about_x = (about(angle, axis) for angle, axis in turns)
    return multiply(multiply(about_z, about_y), about_x)


def angles(q: Tensor) -> dict[str, np.ndarray]:
    """Rotation angle, the direction of the rotation axis, and the angles of :func:`hopf`, in degrees."""
    q = torch.where(q[:, :1] < 0, -q, q)
    axis = q[:, 1:]
    longitude, latitude, tilt = hopf(q)
    shown = {
        "rotation angle": 2 * torch.atan2(axis.norm(dim=1), q[:, 0]),
        "longitude of the rotation axis": torch.atan2(axis[:, 1], axis[:, 0]),
        "latitude of the rotation axis": torch.atan2(axis[:, 2], axis[:, :2].norm(dim=1)),
        "longitude of the rotated x axis": longitude,
        "latitude of the rotated x axis": latitude,
        "tilt about the rotated x axis": tilt,
    }
    return {f"{name} (°)": np.degrees(value.numpy()) for name, value in shown.items()}


def mollweide(samples: Samples, splits: Splits, log_density: Callable[[Tensor], Tensor | None]) -> Drawing:
    """Each rotation a dot where it takes the x axis, coloured by the tilt (Murphy et al. 2021, arXiv:2106.05965)."""
    panels = {name: (hopf(q), torch.full((len(q),), 3.0)) for name, q in same_number(samples, splits, DOTS).items()}
    grid = _grid()
    known = log_density(from_hopf(*grid))
    if known is not None:
        panels = {"known density": (grid, 30 * (known - known.max()).exp()), **panels}
    figure, axes = _maps(len(panels))
    for axis, (title, (turns, size)) in zip(axes, panels.items(), strict=True):
        order = size.argsort()[(size > 0.2).sort().values]  # the densest on top
        longitude, latitude, tilt = (angle[order].numpy() for angle in turns)
        dots = axis.scatter(
            longitude,
            latitude,
            s=size[order].numpy(),
            c=np.degrees(tilt),
            cmap=TILT,
            vmin=-180,
            vmax=180,
            lw=0,
            rasterized=True,
        )
        axis.set_title(title)
    figure.colorbar(dots, ax=axes, label="tilt about the x axis (°)", ticks=range(-180, 181, 90), shrink=0.6, aspect=15)
    first = "" if known is None else " Of the known density, a grid of rotations with dots of an area in proportion."
    return Drawing(
        figure,
        "Rotations: each dot lies where a rotation takes the x axis (longitude and latitude, equal-area projection); "
        f"its colour is the angle by which it tilts the rest about that axis.{first}",
    )


def axis_density(samples: Samples, splits: Splits, log_density: Callable[[Tensor], Tensor | None]) -> Drawing:
    """Density of the rotated x axis over the sphere, relative to the uniform one."""
    assert isinstance(samples.x, Tensor)
    every = torch.cat([splits.train, splits.val, splits.test])
    panels = {f"data ({len(every)})": _counted(every), f"samples ({len(samples.x)})": _counted(samples.x)}
    known = _marginal(log_density)
    if known is not None:
        panels = {"known density": known, **panels}
    figure, axes = _maps(len(panels))
    highest = float(np.quantile(next(iter(panels.values())), 0.998))
    for axis, (title, density) in zip(axes, panels.items(), strict=True):
        rows, columns = (size * FINE for size in density.shape)  # small quadrilaterals follow the map's curved edge
        longitude = np.linspace(-math.pi, math.pi, columns + 1)
        latitude = np.arcsin(np.linspace(-1, 1, rows + 1))
        shown = density.repeat(FINE, 0).repeat(FINE, 1)
        image = axis.pcolormesh(longitude, latitude, shown, cmap="viridis", vmin=0, vmax=highest, rasterized=True)
        axis.set_title(title)
        axis.grid(False)
    figure.colorbar(image, ax=axes, label="density / uniform", shrink=0.6, aspect=15)
    exact = "" if known is None else " The known density is integrated over the tilt."
    return Drawing(
        figure,
        "Where rotations take the x axis: density over the uniform one on the sphere, in bins of equal area "
        f"({BINS} × {2 * BINS}), one scale for all panels.{exact}",
    )


def _maps(n: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.3 * n + 0.8, 2.7), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, n, subplot_kw={"projection": "mollweide"}))
    for axis in axes:
        axis.grid(lw=0.4, color="0.8")
        axis.set_axisbelow(True)
        axis.set(xticks=np.radians([-120, -60, 0, 60, 120]), yticks=np.radians([-60, -30, 0, 30, 60]), xticklabels=[])
        axis.tick_params(labelsize=6, colors="0.35")
    return figure, axes


def _grid() -> tuple[Tensor, Tensor, Tensor]:
    """Rotations of equal volume: a Fibonacci lattice of directions, equal steps of the tilt."""
    i = torch.arange(DIRECTIONS, dtype=torch.float64)
    golden = math.pi * (3 - math.sqrt(5))
    longitude = torch.remainder(golden * i, 2 * math.pi) - math.pi
    latitude = (1 - (2 * i + 1) / DIRECTIONS).asin()
    tilt = ((torch.arange(TILTS, dtype=torch.float64) + 0.5) / TILTS - 0.5) * 2 * math.pi
    return (
        longitude.repeat_interleave(TILTS),
        latitude.repeat_interleave(TILTS),
        tilt.repeat(DIRECTIONS),
    )


def _counted(q: Tensor) -> np.ndarray:
    longitude, latitude, _ = hopf(q.double())
    count, _, _ = np.histogram2d(
        latitude.sin().numpy(), longitude.numpy(), (BINS, 2 * BINS), range=[[-1, 1], [-math.pi, math.pi]]
    )
    return count * count.size / count.sum()


def _marginal(log_density: Callable[[Tensor], Tensor | None]) -> np.ndarray | None:
    """``4π ∫ p d(tilt)`` on a grid of directions."""
    rows, columns = FINE * BINS, 2 * FINE * BINS
    height = ((torch.arange(rows, dtype=torch.float64) + 0.5) / rows * 2 - 1).asin()
    around = ((torch.arange(columns, dtype=torch.float64) + 0.5) / columns * 2 - 1) * math.pi
    tilt = (torch.arange(TILTS, dtype=torch.float64) + 0.5) / TILTS * 2 * math.pi
    total = np.zeros((rows, columns))
    for angle in tilt:
        latitude, longitude = torch.meshgrid(height, around, indexing="ij")
        known = log_density(from_hopf(longitude, latitude, angle.expand_as(latitude)).reshape(-1, 4))
        if known is None:
            return None
        total = total + known.exp().reshape(rows, columns).numpy() * (4 * math.pi * 2 * math.pi / TILTS)
    return total
