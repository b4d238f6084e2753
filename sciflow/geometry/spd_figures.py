"""Positive definite matrices, drawn: as ellipses, by their eigenvalues, and 2×2 shapes in the hyperbolic plane."""

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from torch import Tensor

from ..manifolds import Prior, from_poincare, to_poincare
from ..training import Samples
from .density_figures import same_number
from .hyperbolic_figures import Polar, disc_panels
from .study import Drawing, Splits

__all__ = ["glyphs", "shape", "shape_discs", "shapes"]

ROWS, COLUMNS = 7, 12  # of ellipses
DOTS = 2000
RIM = 1.13  # radius at which ellipses show what a direction of the disc means


def shapes(x: Tensor) -> dict[str, np.ndarray]:
    """Logarithms of the eigenvalues, fractional anisotropy, and the direction of the main axis."""
    values, vectors = torch.linalg.eigh(x)
    n, main = x.shape[-1], vectors[..., -1]
    shown = {f"log λ{n - i}": values[:, i].log() for i in reversed(range(n))}
    shown["fractional anisotropy"] = anisotropy(values)
    if n == 2:
        shown["direction of the main axis (°)"] = torch.rad2deg(torch.atan(main[:, 1] / main[:, 0]))
    else:
        shown |= {
            f"main axis to axis {i + 1} (°)": torch.rad2deg(main[:, i].abs().clamp(max=1).acos()) for i in range(n)
        }
    return {name: value.numpy() for name, value in shown.items()}


def anisotropy(values: Tensor) -> Tensor:
    """``√(n/(n−1)) |λ − mean λ| / |λ|``, from 0 (round) to 1 (a line), of eigenvalues ``(N, n)``.

    Source: Basser, Pierpaoli 1996.
    """
    n = values.shape[-1]
    return math.sqrt(n / (n - 1)) * (values - values.mean(-1, keepdim=True)).norm(dim=-1) / values.norm(dim=-1)


def shape(x: Tensor) -> Tensor:
    """The point ``(N, 3)`` of the hyperbolic plane that is the shape of 2×2 matrices ``(N, 2, 2)``.

    ``X = e^s R(φ) diag(e^a, e^−a) R(φ)ᵀ`` lies at the distance a, in the direction 2φ; the affine-invariant metric is
    ``2 ds² + 2 (da² + sinh² a d(2φ)²)``: that of a line and a hyperbolic plane, each times 2.
    """
    unit = x / torch.linalg.det(x).sqrt()[:, None, None]
    a, b, c = unit[:, 0, 0], unit[:, 0, 1], unit[:, 1, 1]
    return torch.stack([(a + c) / 2, (a - c) / 2, b], -1)


def shape_discs(samples: Samples, splits: Splits, truth: Prior[Tensor] | None) -> Drawing:
    """Shapes of 2×2 matrices in the Poincaré disc, whatever their size; ``truth`` is their known density there."""
    dots = {name: to_poincare(shape(x)) for name, x in same_number(samples, splits, DOTS).items()}
    polar = Polar.around(torch.cat(list(dots.values())))
    density = None if truth is None else polar.shaped(truth.log_prob(from_poincare(polar.points())).exp())
    figure = disc_panels(dots, polar, density, "density by hyperbolic area")
    for axis in figure.axes[: len(dots) + (density is not None)]:
        _legend_of_ellipses(axis)
    shown = "" if density is None else " Left: the known density, by hyperbolic area; its contours lie under the dots."
    return Drawing(
        figure,
        "Shapes of 2×2 matrices, whatever their size: round ones at the centre, elongated ones towards the rim, in the "
        "direction that the grey ellipses show; as many held-out data as samples. This is the Poincaré disc, for "
        f"shapes form a hyperbolic plane; dotted circles are at ratios λ1/λ2 of e², e⁴ and e⁶.{shown}",
    )


def glyphs(samples: Samples, splits: Splits) -> Drawing:
    """Some matrices as ellipses, sorted by size."""
    chosen = same_number(samples, splits, ROWS * COLUMNS)
    figure = Figure(figsize=(10.2, 3.6), layout="constrained")
    axes = figure.subplots(1, len(chosen))
    n = splits.test.shape[-1]
    largest = torch.linalg.eigvalsh(torch.cat(list(chosen.values()))[:, :2, :2])[:, 1].quantile(0.98).sqrt()
    for axis, (title, x) in zip(axes, chosen.items(), strict=True):
        x = x[torch.logdet(x).argsort(descending=True)]
        values, vectors = torch.linalg.eigh(x[:, :2, :2])
        length = 0.95 * (values.sqrt() / largest).clamp(min=0.04)
        angle = torch.rad2deg(torch.atan2(vectors[:, 1, 1], vectors[:, 0, 1]))
        place = np.stack([np.arange(len(x)) % COLUMNS, -(np.arange(len(x)) // COLUMNS)], 1)
        ellipses = EllipseCollection(
            length[:, 1].numpy(),
            length[:, 0].numpy(),
            angle.numpy(),
            units="xy",
            offsets=place,
            offset_transform=axis.transData,
            array=anisotropy(torch.linalg.eigvalsh(x)).numpy(),
            cmap="viridis",
            clim=(0, 1),
            ec="0.2",
            lw=0.3,
        )
        axis.add_collection(ellipses)
        axis.set(title=title, aspect="equal", xlim=(-0.8, COLUMNS - 0.2), ylim=(0.2 - ROWS, 0.8))
        axis.axis("off")
    figure.colorbar(ellipses, ax=axes, label="fractional anisotropy", shrink=0.8)
    seen = "" if n == 2 else ", seen along the last axes"
    return Drawing(
        figure,
        f"Matrices as ellipses of half-axes √λ{seen}: the first {len(place)} held-out data and samples, each sorted "
        "by determinant, so that ellipses at one place may be compared; colour: fractional anisotropy.",
    )


def _legend_of_ellipses(axis: Axes) -> None:
    turn = np.arange(8) * np.pi / 4
    axis.add_collection(
        EllipseCollection(
            np.full(8, 0.15),
            np.full(8, 0.05),
            np.degrees(turn / 2),
            units="xy",
            offsets=RIM * np.stack([np.cos(turn), np.sin(turn)], 1),
            offset_transform=axis.transData,
            fc="0.75",
            ec="0.3",
            lw=0.6,
        )
    )
    axis.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25))
