"""Figures of a Boltzmann generator, each beside its reference."""

import mdtraj
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..boltzmann.density_figure import densities
from ..boltzmann.logweights import FEW
from ..boltzmann.weight_figure import WEIGHTS, headline, weight_figure
from .ensembles import Ensembles, density, minus_log

__all__ = ["captions", "figures"]

# Okabe & Ito's palette, readable by everyone.
_DATA, _FLOW, _REWEIGHTED, _REFERENCE = "#0072B2", "#E69F00", "#009E73", "black"
_SHOWN = 1.5  # kT: bins of a profile with a larger error are left blank


def figures(e: Ensembles, seed: int = 0) -> dict[str, Figure]:
    """Every figure by its name."""
    drawn = {
        "ramachandran": _ramachandran(e),
        "free_energy": _free_energy(e, seed),
        "energies": _energies(e),
        "weights": weight_figure(e.weighted.logw, torch.from_numpy(e.energy)),
        "structures": _structures(e),
    }
    for figure in drawn.values():
        figure.suptitle(headline(e.molecule, len(e.weighted), e.weighted.logw), fontsize="medium")
    return drawn


def captions(e: Ensembles) -> dict[str, str]:
    """What each figure shows and how to read it, by the same names."""
    n = len(e.weighted)
    beside = "" if e.reference is None else ", and the reference by replica exchange"
    from_hot = "short runs from hot seeds: the shares of the basins are wrong"
    data = from_hot if e.biased else "runs from parallel tempering"
    return {
        "ramachandran": f"Free energy over (φ, ψ) of {_named(e)} in kT: training data ({data}), "
        f"N = {n} samples as drawn, the same reweighted{beside}.",
        "free_energy": f"Free energy along φ of {_named(e)} from N = {n} samples{beside}; bands are one bootstrap or "
        f"block standard error. Trust differences where the band is narrow; bins with an error above {_SHOWN} kT are "
        f"left blank, and the whole curve below {FEW} effective samples.",
        "energies": "Potential energies in kT. A tail of the samples towards high energies is what the weights remove.",
        "weights": WEIGHTS,
        "structures": "Twelve heavy-atom skeletons drawn from the reweighted ensemble, superposed; a colour each.",
    }


def _named(e: Ensembles) -> str:
    return e.residues[0] if len(e.residues) == 1 else f"each residue ({', '.join(e.residues)})"


def _ramachandran(e: Ensembles) -> Figure:
    """A row of panels a residue."""
    columns = 3 if e.reference is None else 4
    figure = Figure(figsize=(3.4 * columns, 0.4 + 3.2 * len(e.residues)), layout="constrained")
    axes = figure.subplots(len(e.residues), columns, sharex=True, sharey=True, squeeze=False)
    for r, row in enumerate(axes):
        panels = {"training data": density(e.data[:, r]), "samples": density(e.samples[:, r])}
        weighted = "samples, reweighted" + (": no estimate" if e.few else "")
        panels[weighted] = density(e.samples[:, r], e.weighted.weights.numpy())
        if e.reference is not None:
            panels["reference (replica exchange)"] = e.reference.ramachandran[r] / e.reference.ramachandran[r].sum()
        for ax, (title, p) in zip(row, panels.items(), strict=True):
            with np.errstate(divide="ignore"):
                f = -np.log(p)
            shown = (f - f[np.isfinite(f)].min()).T
            image = ax.imshow(shown, origin="lower", extent=(-180, 180, -180, 180), cmap="viridis", vmin=0, vmax=8)
            ax.set(title=title if r == 0 else None, xticks=range(-180, 181, 90), yticks=range(-180, 181, 90))
        row[0].set_ylabel(f"{e.residues[r]}: ψ (degrees)")
    for ax in axes[-1]:
        ax.set_xlabel("φ (degrees)")
    figure.colorbar(image, ax=axes, label="free energy (kT)", shrink=0.8 / len(e.residues))
    return figure


def _free_energy(e: Ensembles, seed: int) -> Figure:
    """A panel a residue."""
    figure = Figure(figsize=(2.0 + 4.4 * len(e.residues), 4.2), layout="constrained")
    axes = figure.subplots(1, len(e.residues), sharey=True, squeeze=False)[0]
    for r, ax in enumerate(axes):
        profile = e.profile(r, seed)
        centres = np.degrees(profile.centres.numpy())
        if (ref := e.reference) is not None:
            _band(ax, ref.phi, ref.free_energy[r], ref.error[r], "replica exchange", _REFERENCE, "--")
        ax.plot(
            centres,
            minus_log(e.data[:, r, 0]),
            color=_DATA,
            label="training data (biased)" if e.biased else "training data",
            lw=1,
        )
        ax.plot(centres, minus_log(e.samples[:, r, 0]), color=_FLOW, label="samples", lw=1)
        value, error = profile.free_energy.numpy(), profile.error.numpy()
        if not e.few:
            _band(ax, centres, np.where(error < _SHOWN, value, np.nan), error, "samples, reweighted", _REWEIGHTED)
        ax.set(xlabel=f"φ of {e.residues[r]} (degrees)", xlim=(-180, 180), ylim=(-0.5, 14), xticks=range(-180, 181, 60))
    axes[0].set_ylabel("free energy (kT)")
    axes[0].legend(frameon=False)
    return figure


def _band(ax: Axes, x: np.ndarray, y: np.ndarray, error: np.ndarray, label: str, colour: str, line: str = "-") -> None:
    ax.plot(x, y, line, color=colour, label=label)
    ax.fill_between(x, y - error, y + error, color=colour, alpha=0.2, lw=0)


def _energies(e: Ensembles) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    low, high = np.quantile(e.data_energy, [0.001, 0.999])
    reach = 0.2 * (high - low)
    edges = torch.linspace(low - reach, high + reach, 81, dtype=torch.float64)
    if e.reference is not None:
        quantiles = e.reference.energy
        density = np.diff(np.linspace(0, 1, len(quantiles), endpoint=False)[::5]) / np.diff(quantiles[::5])
        centres = (quantiles[:-5:5] + quantiles[5::5]) / 2
        ax.plot(centres, density, "--", color=_REFERENCE, label="replica exchange")
    data, energy = torch.from_numpy(e.data_energy), torch.from_numpy(e.energy)
    sets: list[tuple[str, str, torch.Tensor, torch.Tensor | None]] = [
        ("training data", _DATA, data, None),
        ("samples", _FLOW, energy, None),
    ]
    densities(ax, edges, sets if e.few else [*sets, ("samples, reweighted", _REWEIGHTED, energy, e.weighted.weights)])
    ax.set_xlabel("potential energy (kT)")
    return figure


def _structures(e: Ensembles, n: int = 12) -> Figure:
    index = e.weighted.resample(n, torch.Generator().manual_seed(0))
    trajectory = mdtraj.Trajectory(e.weighted.x[index].float().numpy(), e.topology)
    trajectory.superpose(trajectory, 0, e.topology.select("backbone"))
    bonds = [(a.index, b.index) for a, b in e.topology.bonds if "H" not in (a.element.symbol, b.element.symbol)]
    figure = Figure(figsize=(6, 5), layout="constrained")
    ax = figure.add_subplot(projection="3d")
    colours = [f"C{k}" for k in range(10)]
    for k, frame in enumerate(trajectory.xyz):
        for a, b in bonds:
            ax.plot(*frame[[a, b]].T, color=colours[k % 10], lw=1.5, alpha=0.8)
    ax.set_aspect("equal")
    ax.locator_params(nbins=4)  # labels of more would overlap
    ax.set(xlabel="x (nm)", ylabel="y (nm)", zlabel="z (nm)")
    return figure
