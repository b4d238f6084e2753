"""Figures of a Boltzmann generator of an analytic target, each beside data of the target itself."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..boltzmann.distances import histogram, interatomic_distances
from ..boltzmann.weight_figure import WEIGHTS, weight_figure
from .ensembles import Ensembles

__all__ = ["captions", "figures"]

# Okabe & Ito's palette, readable by everyone.
_DATA, _FLOW, _REWEIGHTED, _TRUTH = "#0072B2", "#E69F00", "#009E73", "black"
_DEPTH = 12.0  # kT: where the colours of a density end


def figures(e: Ensembles) -> dict[str, Figure]:
    """Every figure by its name."""
    drawn = {"energies": _energies(e)}
    drawn |= {"distances": _distances(e)} if e.particles else {"density": _density(e), "free_energy": _free_energy(e)}
    return drawn | ({} if e.logw is None else {"weights": weight_figure(e.logw, e.energy)})


def captions(e: Ensembles) -> dict[str, str]:
    """What each figure shows and how to read it, by the same names."""
    n, m = len(e.samples), len(e.test)
    beside = f"N = {n} samples beside {m} held-out data"
    known = "; black: exact" if e.target.free_energy(e.test[:1, 0]) is not None else ""
    return {
        "energies": f"Energies in kT, {beside}. A tail towards high energies is what the weights remove.",
        "distances": f"Distances of all pairs of particles, {beside}, in reduced units.",
        "density": f"Free energy −ln p over the first two dimensions in kT, {beside}.",
        "free_energy": f"Free energy −ln p along the first dimension in kT, minimum at zero, {beside}{known}.",
        "weights": WEIGHTS,
    }


def _sets(e: Ensembles) -> list[tuple[str, str, Tensor, Tensor | None]]:
    """Label, colour, points and weights of what is compared."""
    sets: list[tuple[str, str, Tensor, Tensor | None]] = [
        ("held-out data", _DATA, e.test, None),
        ("samples", _FLOW, e.samples, None),
    ]
    return sets if e.weights is None else [*sets, ("samples, reweighted", _REWEIGHTED, e.samples, e.weights)]


def _curves(ax: Axes, e: Ensembles, quantity: str, edges: Tensor) -> None:
    width = edges.diff().numpy()
    for label, colour, x, weights in _sets(e):
        values = e.target.energy(x) if quantity == "energy" else interatomic_distances(x)
        shares = histogram(values, edges, weights)[1:-1].numpy()
        ax.stairs(shares / width, edges.numpy(), color=colour, lw=1.4, label=label, fill=False)
    ax.set(ylabel="density", xlim=(float(edges[0]), float(edges[-1])))
    ax.legend(frameon=False)


def _energies(e: Ensembles) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    low, high = float(e.test_energy.min()), float(e.test_energy.max())
    reach = 0.2 * (high - low)
    _curves(ax, e, "energy", torch.linspace(low - reach, high + reach, 81, dtype=torch.float64))
    ax.set_xlabel("energy (kT)")
    return figure


def _distances(e: Ensembles) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    high = float(torch.quantile(interatomic_distances(e.test[:1000]).flatten(), 0.999))
    _curves(ax, e, "distance", torch.linspace(0, 1.1 * high, 121, dtype=torch.float64))
    ax.set_xlabel("distance of two particles (reduced units)")
    return figure


def _density(e: Ensembles) -> Figure:
    sets = _sets(e)
    figure = Figure(figsize=(3.6 * len(sets), 3.8), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(sets), sharex=True, sharey=True))
    low, high = e.test[:, :2].amin(0).numpy(), e.test[:, :2].amax(0).numpy()
    edges = [np.linspace(low[k], high[k], 61) for k in range(min(2, e.test.shape[1]))]
    for ax, (label, _, x, weights) in zip(axes, sets, strict=True):
        w = None if weights is None else weights.numpy()
        mass = np.histogram2d(x[:, 0].numpy(), x[:, 1].numpy(), bins=edges, weights=w)[0]
        with np.errstate(divide="ignore"):
            f = -np.log(mass / mass.sum())
        image = ax.pcolormesh(*edges, (f - f.min()).T, cmap="viridis", vmin=0, vmax=_DEPTH, rasterized=True)
        ax.set(title=label, xlabel="$x_1$")
    axes[0].set_ylabel("$x_2$")
    figure.colorbar(image, ax=axes, label="free energy (kT)")
    return figure


def _free_energy(e: Ensembles) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    edges = torch.linspace(float(e.test[:, 0].min()), float(e.test[:, 0].max()), 61, dtype=torch.float64)
    centres = (edges[1:] + edges[:-1]) / 2
    true = e.target.free_energy(centres)
    if true is not None:
        ax.plot(centres, true - true.min(), "--", color=_TRUTH, label="exact")
    for label, colour, x, weights in _sets(e):
        f = -histogram(x[:, 0], edges, weights)[1:-1].log()
        ax.plot(centres, torch.where(f.isfinite(), f - f.min(), torch.nan), color=colour, lw=1.2, label=label)
    ax.set(xlabel="$x_1$", ylabel="free energy (kT)", ylim=(-0.5, None))
    ax.legend(frameon=False)
    return figure
