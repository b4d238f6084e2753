"""Torsions, drawn: planes of two angles, single angles, and the Ramachandran plot."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from ..training import Samples
from .density_figures import DATA, FLOW
from .study import Drawing, Splits

__all__ = ["marginals", "planes", "ramachandran"]

# Okabe & Ito's palette, readable by everyone.
GREEK = {
    name: letter
    for name, letter in zip(
        ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "chi", "phi", "psi", "chi1", "chi2", "chi3", "chi4"),
        ("α", "β", "γ", "δ", "ε", "ζ", "χ", "φ", "ψ", "χ1", "χ2", "χ3", "χ4"),
        strict=True,
    )
}
MOST = 4  # planes in one figure
TICKS = range(-180, 181, 90)


def planes(samples: Samples, splits: Splits, names: Sequence[str]) -> Drawing:
    """Neighbouring angles against each other: held-out data above, samples below."""
    pairs = [(i, i + 1) for i in range(len(names) - 1)][:MOST] or [(0, 0)]
    figure = Figure(figsize=(2.7 * len(pairs) + 0.8, 5.4), layout="constrained")
    axes = np.asarray(figure.subplots(2, len(pairs), squeeze=False))
    shown = {"data": _degrees(splits), "samples": _angles(samples)}
    for column, (i, j) in enumerate(pairs):
        for row, (title, angles) in enumerate(shown.items()):
            axis = axes[row, column]
            image = _density(axis, angles[:, i], angles[:, j], 72)
            axis.set(xlabel=f"{_letter(names[i])} (°)", ylabel=f"{_letter(names[j])} (°)", title=title)
    figure.colorbar(image, ax=axes, label="density / uniform density", shrink=0.7)
    return Drawing(
        figure,
        f"Neighbouring torsions of all {len(shown['data'])} data (above) and {len(shown['samples'])} samples of the "
        "flow (below): density over the uniform one, in bins of 5°, one logarithmic scale for all panels.",
    )


def marginals(samples: Samples, splits: Splits, names: Sequence[str]) -> Drawing:
    """One angle at a time."""
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.2 * rows), layout="constrained")
    axes = np.asarray(figure.subplots(rows, columns, squeeze=False)).ravel()
    bins = np.linspace(-180, 180, 91)
    for axis, name, data, drawn in zip(axes, names, _degrees(splits).T, _angles(samples).T, strict=False):
        axis.hist(data, bins, density=True, color=DATA, alpha=0.45, label="data")
        axis.hist(drawn, bins, density=True, histtype="step", color=FLOW, lw=1.2, label="samples")
        axis.set(xlabel=f"{_letter(name)} (°)", xlim=(-180, 180), xticks=TICKS, yticks=[])
    for axis in axes[len(names) :]:
        axis.axis("off")
    axes[0].legend(frameon=False, fontsize=7)
    return Drawing(figure, "Every torsion by itself: all data (filled) and samples of the flow (line).")


def ramachandran(samples: Samples, splits: Splits) -> Drawing:
    """φ and ψ of data and samples, large."""
    figure = Figure(figsize=(8.4, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, title, angles in zip(axes, ("data", "samples"), (_degrees(splits), _angles(samples)), strict=True):
        image = _density(axis, angles[:, 0], angles[:, 1], 90)
        axis.set(title=f"{title} ({len(angles)})", xlabel="φ (°)")
        axis.set_ylabel("ψ (°)")
    figure.colorbar(image, ax=axes, label="density / uniform density")
    return Drawing(figure, "Ramachandran plot of all data and of the samples: density over the uniform one, 4° bins.")


def _density(axis: Axes, x: np.ndarray, y: np.ndarray, bins: int) -> AxesImage:
    count, _, _ = np.histogram2d(x, y, bins, range=[[-180, 180], [-180, 180]])
    relative = count * bins**2 / count.sum()
    image = axis.imshow(
        np.where(relative > 0, relative, np.nan).T,
        origin="lower",
        extent=(-180, 180, -180, 180),
        cmap="viridis",
        norm=LogNorm(0.05, 200),
    )
    axis.set(xticks=TICKS, yticks=TICKS)
    return image


def _degrees(splits: Splits) -> np.ndarray:
    return np.degrees(np.concatenate([part.numpy() for part in (splits.train, splits.val, splits.test)]))


def _angles(samples: Samples) -> np.ndarray:
    assert isinstance(samples.x, Tensor)
    return np.degrees(samples.x.numpy())


def _letter(name: str) -> str:
    return GREEK.get(name, name)
