"""Figures of a Boltzmann generator of an analytic target, each beside data of the target itself."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..boltzmann.density_figure import densities
from ..boltzmann.distances import histogram, interatomic_distances
from ..boltzmann.logweights import FEW
from ..boltzmann.weight_figure import WEIGHTS, headline, weight_figure
from .ensembles import Ensembles

__all__ = ["captions", "figures"]

# Okabe & Ito's palette, readable by everyone.
_DATA, _FLOW, _REWEIGHTED, _TRUTH = "#0072B2", "#E69F00", "#009E73", "black"
_DEPTH = 12.0  # kT: where the colours of a density end


def figures(e: Ensembles) -> dict[str, Figure]:
    """Every figure by its name."""
    drawn = {"energies": _energies(e)}
    drawn |= {"distances": _distances(e)} if e.particles else {"density": _density(e), "free_energy": _free_energy(e)}
    drawn |= {} if e.logw is None else {"weights": weight_figure(e.logw, e.energy)}
    for figure in drawn.values():
        figure.suptitle(headline(type(e.target).__name__, len(e.samples), e.logw), fontsize="medium")
    return drawn


def captions(e: Ensembles) -> dict[str, str]:
    """What each figure shows and how to read it, by the same names."""
    n, m = len(e.samples), len(e.test)
    beside = f"N = {n} samples beside {m} held-out data"
    few = f" Fewer than {FEW} effective samples, so no reweighted curves." if e.few else ""
    known = "; black: exact" if e.target.free_energy(e.test[:1, 0]) is not None else ""
    return {
        "energies": f"Energies in kT, {beside}. A tail towards high energies is what the weights remove.{few}",
        "distances": f"Distances of all pairs of particles, {beside}, in reduced units.{few}",
        "density": f"Free energy −ln p over the first two dimensions in kT, {beside}.{few}",
        "free_energy": f"Free energy −ln p along the first dimension in kT, minimum at zero, {beside}{known}.{few}",
        "weights": WEIGHTS,
    }


def _sets(e: Ensembles) -> list[tuple[str, str, Tensor, Tensor | None]]:
    """Label, colour, points and weights of what is compared; reweighted samples where enough are effective."""
    sets: list[tuple[str, str, Tensor, Tensor | None]] = [
        ("held-out data", _DATA, e.test, None),
        ("samples", _FLOW, e.samples, None),
    ]
    return sets if e.weights is None or e.few else [*sets, ("samples, reweighted", _REWEIGHTED, e.samples, e.weights)]


def _energies(e: Ensembles) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    low, high = float(e.test_energy.min()), float(e.test_energy.max())
    reach = 0.2 * (high - low)
    sets = [(label, colour, e.target.energy(x), weights) for label, colour, x, weights in _sets(e)]
    densities(ax, torch.linspace(low - reach, high + reach, 81, dtype=torch.float64), sets)
    ax.set_xlabel("energy (kT)")
    return figure


def _distances(e: Ensembles) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    high = float(torch.quantile(interatomic_distances(e.test[:1000]).flatten(), 0.999))
    sets = [(label, colour, interatomic_distances(x), weights) for label, colour, x, weights in _sets(e)]
    densities(ax, torch.linspace(0, 1.1 * high, 121, dtype=torch.float64), sets)
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
