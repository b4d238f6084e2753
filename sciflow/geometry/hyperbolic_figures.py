"""The hyperbolic plane, drawn in the Poincaré disc."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from ..manifolds import from_poincare, to_poincare
from ..training import Samples
from .density_figures import DATA, FLOW, TRUTH, same_number
from .study import Drawing, Splits

__all__ = ["ball", "disc_panels", "discs"]

DOTS = 2000
RADII, DIRECTIONS = 120, 180  # of the grid on which the known density is shown
LEVELS = (0.02, 0.1, 0.3, 0.7)  # contours, as shares of the highest density
CIRCLES = (1.0, 2.0, 3.0)  # hyperbolic distances from the origin


def ball(x: Tensor) -> dict[str, np.ndarray]:
    """Distance from the origin, direction in the first plane, and Poincaré coordinates (the first three)."""
    p = to_poincare(x)
    shown = {
        "distance from the origin": 2 * p.norm(dim=1).atanh(),
        "direction in the plane of x1, x2 (°)": torch.rad2deg(torch.atan2(p[:, 1], p[:, 0])),
    }
    shown |= {f"Poincaré coordinate x{i + 1}": p[:, i] for i in range(min(3, p.shape[1]))}
    return {name: value.numpy() for name, value in shown.items()}


def discs(samples: Samples, splits: Splits, log_density: Callable[[Tensor], Tensor | None]) -> Drawing:
    """Known density, held-out data and samples in the Poincaré disc of the first two coordinates."""
    dots = {name: to_poincare(x)[:, :2] for name, x in same_number(samples, splits, DOTS).items()}
    plane = splits.test.shape[-1] == 3
    polar = Polar.around(torch.cat(list(dots.values())))
    known = log_density(from_poincare(polar.points())) if plane else None
    density = None if known is None else polar.shaped(known.exp())
    figure = disc_panels(dots, polar, density, "density by hyperbolic area")
    shown = "" if known is None else " Left: the known density, by hyperbolic area; its contours lie under the dots."
    which = "" if plane else " of the first two of the coordinates"
    return Drawing(
        figure,
        f"Poincaré disc{which}: each dot is a point; as many held-out data as samples.{shown} "
        "Dotted circles are at distances 1, 2 and 3 from the origin; the rim is infinitely far away.",
    )


class Polar:
    """A grid of the hyperbolic plane in polar coordinates, out to a distance ``reach``."""

    def __init__(self, reach: float) -> None:
        self.r = torch.linspace(1e-6, reach, RADII, dtype=torch.float64)
        self.angle = torch.linspace(-math.pi, math.pi, DIRECTIONS + 1, dtype=torch.float64)

    @classmethod
    def around(cls, p: Tensor) -> "Polar":
        """A little further than points of the disc ``p (N, 2)``, the furthest left out."""
        return cls(float(2 * p.norm(dim=1).quantile(0.999).clamp(max=0.999).atanh()) + 0.3)

    def points(self) -> Tensor:
        """In the Poincaré disc, ``(RADII · (DIRECTIONS + 1), 2)``."""
        r, angle = torch.meshgrid(self.r, self.angle, indexing="ij")
        return (torch.stack([angle.cos(), angle.sin()], -1) * (r / 2).tanh()[..., None]).reshape(-1, 2)

    def shaped(self, values: Tensor) -> np.ndarray:
        """Values at the points, as ``(RADII, DIRECTIONS + 1)``."""
        return values.reshape(len(self.r), len(self.angle)).numpy()


def disc_panels(dots: Mapping[str, Tensor], polar: Polar, density: np.ndarray | None, label: str) -> Figure:
    """Discs side by side: the density as a map, where it is known, then the dots over its contours."""
    n = len(dots) + (density is not None)
    figure = Figure(figsize=(3.5 * n + (0.8 if density is not None else 0), 3.7), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(1, n)))
    u, v = (polar.shaped(part) for part in polar.points().T)
    if density is not None:
        axes[0].add_patch(Circle((0, 0), 1, color=colormaps["viridis"](0)))
        image = axes[0].pcolormesh(
            u, v, density, shading="gouraud", cmap="viridis", norm=PowerNorm(0.5, 0), rasterized=True
        )
        _rim(axes[0], "known density", "white")
        figure.colorbar(image, ax=axes[0], label=label, shrink=0.75, location="left")
    for axis, colour, (title, p) in zip(axes[n - len(dots) :], (DATA, FLOW), dots.items(), strict=True):
        if density is not None:
            axis.contour(u, v, density, [level * density.max() for level in LEVELS], colors=TRUTH, linewidths=0.5)
        axis.plot(*p.numpy().T, ".", color=colour, ms=2.5, alpha=0.5, mew=0, rasterized=True)
        _rim(axis, title, "0.4")
    return figure


def _rim(axis: Axes, title: str, colour: str) -> None:
    turn = np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(turn), np.sin(turn), color=TRUTH, lw=1)
    for distance in CIRCLES:
        radius = np.tanh(distance / 2)
        axis.plot(radius * np.cos(turn), radius * np.sin(turn), ":", color=colour, lw=0.6)
    axis.set(title=title, aspect="equal", xlim=(-1.03, 1.03), ylim=(-1.03, 1.03))
    axis.axis("off")
