"""Figures of a crystal that was brought from one temperature to another, each beside frames drawn at both."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..boltzmann.distances import histogram
from ..boltzmann.targets.ewald import nearest_distance
from ..manifolds import SO3
from .ice_metrics import Crystals

__all__ = ["captions", "figures"]

# Okabe & Ito's palette, readable by everyone.
_COLD, _HOT, _FLOW, _REWEIGHTED = "#0072B2", "#CC79A7", "#E69F00", "#009E73"
_OXYGEN, _HYDROGEN = "#D55E00", "0.6"


def figures(c: Crystals) -> dict[str, Figure]:
    """Every figure by its name."""
    return {"energies": _energies(c), "oxygens": _oxygens(c), "turns": _turns(c), "crystal": _crystal(c)}


def captions(c: Crystals) -> dict[str, str]:
    """What each figure shows, by the same names."""
    n, m = len(c.samples), len(c.cold)
    beside = f"N = {n} samples of the flow beside {m} frames drawn at {c.ice.temperature:g} K"
    return {
        "energies": f"Potential energies in kT, {beside}.",
        "oxygens": f"Distances between oxygens (nearest images): g(r), with that of the hot frames; {beside}.",
        "turns": f"Angles by which molecules are turned from their sites, with those of the hot frames; {beside}.",
        "crystal": f"The perfect crystal ({c.ice.order} protons) and one sample of the flow, seen along b and along a; "
        "oxygens orange, protons grey, box dashed.",
    }


def _sets(c: Crystals) -> list[tuple[str, str, Tensor, Tensor | None]]:
    return [
        ("cold frames", _COLD, c.cold, None),
        ("hot frames", _HOT, c.hot, None),
        ("samples", _FLOW, c.samples, None),
        ("samples, reweighted", _REWEIGHTED, c.samples, c.weights),
    ]


def _energies(c: Crystals) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    truth = c.ice.energy(c.cold)
    low, high = float(truth.min()) - 10, float(truth.max()) + 10
    edges = torch.linspace(low, high, 61, dtype=torch.float64)
    for label, colour, x, weights in _sets(c):
        if label != "hot frames":  # far to the right
            shares = histogram(c.ice.energy(x), edges, weights)[1:-1].numpy()
            axis.stairs(shares / edges.diff().numpy(), edges.numpy(), color=colour, lw=1.4, label=label)
    axis.set(xlabel=f"potential energy (kT at {c.ice.temperature:g} K)", ylabel="density", xlim=(low, high))
    axis.legend(frameon=False)
    return figure


def _oxygens(c: Crystals) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    edges = torch.linspace(0.22, min(c.ice.box) / 2, 121, dtype=torch.float64)
    shells = 4 / 3 * np.pi * np.diff(edges.numpy() ** 3)
    first, second = torch.triu_indices(c.ice.molecules, c.ice.molecules, 1)
    uniform = shells / np.prod(c.ice.box)
    for label, colour, x, weights in _sets(c):
        r = nearest_distance(x[..., :3], first, second, c.ice.box)
        shares = histogram(r, edges, weights)[1:-1].numpy()
        axis.stairs(shares / uniform, edges.numpy(), color=colour, lw=1.3, label=label)
    axis.set(xlabel="distance of two oxygens (nm)", ylabel="g(r)", xlim=(0.22, float(edges[-1])))
    axis.legend(frameon=False, title=f"{len(first)} pairs a frame")
    return figure


def _turns(c: Crystals) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    edges = torch.linspace(0, 45, 91, dtype=torch.float64)
    for label, colour, x, weights in _sets(c):
        angle = torch.rad2deg(SO3().dist(c.ice.sites[:, 3:], x[..., 3:]))
        shares = histogram(angle, edges, weights)[1:-1].numpy()
        axis.stairs(shares / edges.diff().numpy(), edges.numpy(), color=colour, lw=1.3, label=label)
    axis.set(xlabel="angle of a molecule from its site (°)", ylabel="density", xlim=(0, 45))
    axis.legend(frameon=False)
    return figure


def _crystal(c: Crystals) -> Figure:
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for row, (name, x) in enumerate((("perfect crystal", c.ice.sites), ("a sample of the flow", c.samples[0]))):
        atoms = c.ice.atoms(x).numpy()
        for axis, (across, depth, label) in zip(axes[row], ((0, 1, "a"), (1, 0, "b")), strict=True):
            for molecule in atoms[np.argsort(-atoms[:, 0, depth])]:
                for k in (1, 2):
                    axis.plot(*molecule[[0, k]][:, [across, 2]].T, color=_HYDROGEN, lw=2, zorder=1)
                axis.scatter(*molecule[1:3][:, [across, 2]].T, s=18, color=_HYDROGEN, zorder=2)
                axis.scatter(*molecule[0, [across, 2]], s=60, color=_OXYGEN, edgecolor="white", zorder=3)
            width, height = c.ice.box[across], c.ice.box[2]
            axis.plot([0, width, width, 0, 0], [0, 0, height, height, 0], "--", color="0.5", lw=0.8)
            axis.set(xlabel=f"{label} (nm)", ylabel="c (nm)", title=name, aspect="equal")
    return figure
