"""Where the corners of a turning tetrahedron point: the exact density beside that of samples."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..boltzmann.targets import Tetrahedron, turns_of_so3
from ..boltzmann.weight_figure import headline
from .ensembles import Ensembles

__all__ = ["CORNERS", "corners"]

CORNERS = (
    "Where each corner of the tetrahedron points (Mollweide's map, which keeps areas): density over the uniform "
    "one, by quadrature of the exact law, of the samples as drawn and of the samples reweighted. Charges of the "
    "corners stand on the left."
)

_LONGITUDES, _LATITUDES = 36, 18  # bins of equal area
_TURNS = 32  # order of the quadrature: finer than the bins
_DENSEST = 12.0


def corners(target: Tetrahedron, e: Ensembles) -> Figure:
    """A row a corner, a column each of the exact law, samples, and samples reweighted."""
    q, log_weight = turns_of_so3(_TURNS)
    exact = (log_weight - target.energy(q)).softmax(0)
    laws: list[tuple[str, Tensor, Tensor | None]] = [("exact", q, exact), ("samples", e.samples, None)]
    if e.weights is not None and not e.few:
        laws.append(("samples, reweighted", e.samples, e.weights))
    figure = Figure(figsize=(3.4 * len(laws), 7.2), layout="constrained")
    axes = figure.subplots(4, len(laws), subplot_kw={"projection": "mollweide"}, squeeze=False)
    longitude = np.linspace(-np.pi, np.pi, _LONGITUDES + 1)
    latitude = np.arcsin(np.linspace(-1, 1, _LATITUDES + 1))
    for column, (name, x, weights) in enumerate(laws):
        pointed = target.corners(x)
        for row in range(4):
            density = _density(pointed[:, row], weights)
            axis = axes[row, column]
            image = axis.pcolormesh(
                longitude, latitude, density, cmap="viridis", vmin=0, vmax=_DENSEST, rasterized=True
            )
            axis.set(xticklabels=[], yticklabels=[])
            if row == 0:
                axis.set_title(name)
            if column == 0:
                axis.set_ylabel(f"charge {target.charges[row]:g}")
    figure.suptitle(headline("Tetrahedron", len(e.samples), e.logw), fontsize="medium")
    figure.colorbar(image, ax=axes, label="density / uniform density", shrink=0.5, extend="max")
    return figure


def _density(r: Tensor, weights: Tensor | None) -> np.ndarray:
    """Of directions (n, 3) in bins of equal area (latitudes, longitudes), one where they are uniform."""
    around = torch.atan2(r[:, 1], r[:, 0]).numpy()
    w = None if weights is None else weights.numpy()
    edges = (np.linspace(-1, 1, _LATITUDES + 1), np.linspace(-np.pi, np.pi, _LONGITUDES + 1))
    mass = np.histogram2d(r[:, 2].numpy().clip(-1, 1), around, bins=edges, weights=w)[0]
    return np.asarray(mass / mass.sum() * _LATITUDES * _LONGITUDES)
