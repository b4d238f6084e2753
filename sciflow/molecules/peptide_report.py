"""Numbers and figures of a Boltzmann generator, each beside its reference and its floor."""

from dataclasses import dataclass

import mdtraj
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..boltzmann import Profile, WeightedSamples
from ..study import Evaluation, Metric
from .reference import Reference

__all__ = ["Ensembles", "report"]

# Okabe & Ito's palette, readable by everyone.
_DATA, _FLOW, _REWEIGHTED, _REFERENCE = "#0072B2", "#E69F00", "#009E73", "black"
_EDGES = np.linspace(-np.pi, np.pi, 73)
_SHOWN = 1.5  # kT: bins of a profile with a larger error are left blank
_TRUSTED = 6.0  # kT: bins of the reference profile that enter the root-mean-square error


@dataclass
class Ensembles:
    """What is compared: training data, raw samples, the same reweighted, and the reference, if there is one.

    ``data (F, 2)`` and ``samples (B, 2)`` are φ, ψ in radians; energies are in kT.
    """

    data: np.ndarray
    samples: np.ndarray
    data_energy: np.ndarray
    weighted: WeightedSamples
    reference: Reference | None
    topology: mdtraj.Topology

    @property
    def energy(self) -> np.ndarray:
        """Energies of the samples with weight, in kT; NaN for the others."""
        weighted = self.weighted
        return torch.where(weighted.logw.isfinite(), -(weighted.logw + weighted.logq), torch.nan).numpy()


def report(ensembles: Ensembles, seed: int = 0) -> Evaluation:
    """Metrics, figures and captions of one run."""
    profile = ensembles.weighted.free_energy(
        torch.from_numpy(ensembles.samples[:, 0].astype(float)), torch.from_numpy(_EDGES), seed=seed
    )
    n = len(ensembles.weighted)
    figures = {
        "ramachandran": _ramachandran(ensembles),
        "free_energy": _free_energy(ensembles, profile),
        "energies": _energies(ensembles),
        "weights": _weights(ensembles),
        "structures": _structures(ensembles),
    }
    shown = "training data (biased short runs), raw samples, the samples reweighted"
    captions = {
        "ramachandran": f"Free energy over (φ, ψ) in kT: {shown}, and replica exchange. "
        "The training data hold too much of φ > 0; the weights take it out again.",
        "free_energy": f"Free energy along φ from N = {n} samples; bands are one bootstrap or block standard error. "
        f"Trust differences where the band is narrow; bins with an error above {_SHOWN} kT are left blank.",
        "energies": "Potential energies in kT. Raw samples have a tail of clashes that the weights remove.",
        "weights": "Log-weights against energy, and the share of the total weight held by the k heaviest samples. "
        "When a handful of samples carries most of the weight, do not trust the averages.",
        "structures": "Twelve heavy-atom skeletons drawn from the reweighted ensemble, superposed; a colour each.",
    }
    return Evaluation(_metrics(ensembles, profile, seed), figures, captions)


def _metrics(e: Ensembles, profile: Profile, seed: int) -> dict[str, Metric]:
    n, weighted, ref = len(e.weighted), e.weighted, e.reference
    above = torch.from_numpy(e.samples[:, 0] > 0)
    data_delta_f, samples_delta_f = _log_odds(e.data[:, 0] > 0), _log_odds(above.numpy())
    true_delta_f = None if ref is None else ref.delta_f
    energy = torch.from_numpy(np.nan_to_num(e.energy))
    mean_energy, energy_error = weighted.bootstrap(lambda w: (w * energy).sum() / w.sum(), seed=seed)
    delta_f, delta_f_error = weighted.delta_f(above, seed=seed)
    true_energy = None if ref is None else float(np.average(ref.energy[0], weights=ref.energy[1]))
    metrics = {
        "ess": Metric(weighted.ess(), None, n, 1 / n, None, "fraction"),
        "ess_clipped": Metric(weighted.ess_clipped(1e-4), None, n, 1 / n, None, "fraction"),
        "largest_weight": Metric(float(weighted.weights.max()), None, n, 1 / n, None, "fraction"),
        "outside_target": Metric(float((~weighted.logw.isfinite()).double().mean()), None, n, 0.0, None, "fraction"),
        "delta_f": Metric(delta_f, delta_f_error, n, data_delta_f, true_delta_f, "kT"),
        "delta_f_samples": Metric(samples_delta_f, None, n, data_delta_f, true_delta_f, "kT"),
        "delta_f_data": Metric(data_delta_f, None, len(e.data), data_delta_f, true_delta_f, "kT"),
        "mean_energy": Metric(
            float(mean_energy), float(energy_error), n, float(e.data_energy.mean()), true_energy, "kT"
        ),
    }
    if ref is not None:
        equal = np.full(len(e.data), 1 / len(e.data))
        data_rmse, data_tv = _rmse(_minus_log(e.data[:, 0]), ref), _total_variation(e.data, equal, ref)
        rmse = _rmse(profile.free_energy.numpy(), ref)
        tv = _total_variation(e.samples, weighted.weights.numpy(), ref)
        metrics["free_energy_rmse"] = Metric(rmse, None, n, data_rmse, None, "kT")
        metrics["ramachandran_tv"] = Metric(tv, None, n, data_tv, _noise(ref, weighted.ess() * n, seed), "fraction")
    return {name: _finite(metric) for name, metric in metrics.items() if np.isfinite(metric.value)}


def _finite(metric: Metric) -> Metric:
    """Leaves out an error, floor or reference that the samples are too few to give."""
    known = {k: v for k, v in vars(metric).items() if not isinstance(v, float) or np.isfinite(v)}
    return Metric(**known)


def _log_odds(state: np.ndarray) -> float:
    """−ln p(state)/p(not state); NaN where one of them was never seen."""
    p = state.mean()
    return float(np.log((1 - p) / p)) if 0 < p < 1 else float("nan")


def _minus_log(phi: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        f = -np.log(np.histogram(phi, _EDGES)[0] / len(phi))
    return np.where(np.isfinite(f), f - f.min(), np.nan)


def _rmse(free_energy: np.ndarray, ref: Reference) -> float:
    """Root-mean-square difference of two profiles over the bins below 6 kT that both know, aligned at their means."""
    difference = (free_energy - ref.free_energy)[np.nan_to_num(ref.free_energy, nan=np.inf) < _TRUSTED]
    difference = difference[np.isfinite(difference)]
    return float(np.sqrt(np.mean((difference - difference.mean()) ** 2))) if len(difference) else float("nan")


def _density(angles: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    p = np.histogram2d(angles[:, 0], angles[:, 1], (_EDGES, _EDGES), weights=weights)[0]
    return p / p.sum()


def _total_variation(angles: np.ndarray, weights: np.ndarray, ref: Reference) -> float:
    return float(0.5 * np.abs(_density(angles, weights) - ref.ramachandran / ref.ramachandran.sum()).sum())


def _noise(ref: Reference, n: float, seed: int) -> float:
    """Total variation of ``n`` independent draws of the reference itself: what a perfect generator would show."""
    p = ref.ramachandran.ravel() / ref.ramachandran.sum()
    draws = np.random.default_rng(seed).multinomial(max(1, round(n)), p)
    return float(0.5 * np.abs(draws / draws.sum() - p).sum())


def _ramachandran(e: Ensembles) -> Figure:
    panels = {"training data": _density(e.data), "samples": _density(e.samples)}
    panels["samples, reweighted"] = _density(e.samples, e.weighted.weights.numpy())
    if e.reference is not None:
        panels["reference (replica exchange)"] = e.reference.ramachandran / e.reference.ramachandran.sum()
    figure = Figure(figsize=(3.4 * len(panels), 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for ax, (title, p) in zip(axes, panels.items(), strict=True):
        with np.errstate(divide="ignore"):
            f = -np.log(p)
        image = ax.imshow(
            (f - f[np.isfinite(f)].min()).T,
            origin="lower",
            extent=(-180, 180, -180, 180),
            cmap="viridis",
            vmin=0,
            vmax=8,
        )
        ax.set(title=title, xlabel="φ (degrees)", xticks=range(-180, 181, 90), yticks=range(-180, 181, 90))
    axes[0].set_ylabel("ψ (degrees)")
    figure.colorbar(image, ax=axes, label="free energy (kT)", shrink=0.8)
    return figure


def _free_energy(e: Ensembles, profile: Profile) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    centres = np.degrees(profile.centres.numpy())
    if e.reference is not None:
        _band(ax, e.reference.phi, e.reference.free_energy, e.reference.error, "replica exchange", _REFERENCE, "--")
    ax.plot(centres, _minus_log(e.data[:, 0]), color=_DATA, label="training data (biased)", lw=1)
    ax.plot(centres, _minus_log(e.samples[:, 0]), color=_FLOW, label="samples", lw=1)
    value, error = profile.free_energy.numpy(), profile.error.numpy()
    _band(ax, centres, np.where(error < _SHOWN, value, np.nan), error, "samples, reweighted", _REWEIGHTED)
    ax.set(
        xlabel="φ (degrees)", ylabel="free energy (kT)", xlim=(-180, 180), ylim=(-0.5, 14), xticks=range(-180, 181, 60)
    )
    ax.legend(frameon=False)
    return figure


def _band(ax: Axes, x: np.ndarray, y: np.ndarray, error: np.ndarray, label: str, colour: str, line: str = "-") -> None:
    ax.plot(x, y, line, color=colour, label=label)
    ax.fill_between(x, y - error, y + error, color=colour, alpha=0.2, lw=0)


def _energies(e: Ensembles) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    low = min(e.data_energy.min(), np.nanmin(e.energy))
    high = np.quantile(e.data_energy, 0.999) + 0.5 * np.ptp(e.data_energy)
    bins = np.linspace(low, high, 90)
    known = np.isfinite(e.energy)
    if e.reference is not None:
        ax.plot(*e.reference.energy, "--", color=_REFERENCE, label="replica exchange")
    weights = e.weighted.weights.numpy()[known]
    for label, colour, energy, w in (
        ("training data", _DATA, e.data_energy, None),
        ("samples", _FLOW, e.energy[known], None),
        ("samples, reweighted", _REWEIGHTED, e.energy[known], weights),
    ):
        mass = np.histogram(energy, bins, weights=w)[0] / (len(energy) if w is None else w.sum())
        ax.stairs(mass / np.diff(bins), bins, color=colour, lw=1.4, label=label)
    ax.set(xlabel="potential energy (kT)", ylabel="density", xlim=(low, high))
    ax.legend(frameon=False)
    return figure


def _weights(e: Ensembles) -> Figure:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    known = np.isfinite(e.energy)
    logw = e.weighted.logw.numpy()[known] - e.weighted.log_z()
    left.plot(e.energy[known], logw, ".", color=_FLOW, ms=1.5, alpha=0.5, rasterized=True)
    low, high = np.quantile(e.energy[known], [0.0, 0.99])
    left.set(
        xlabel="potential energy (kT)", ylabel="log w − log Z", xlim=(low - 2, high + 2), ylim=(-30, logw.max() + 2)
    )
    w = np.sort(e.weighted.weights.numpy())[::-1]
    right.plot(np.arange(1, len(w) + 1), w.cumsum(), color=_REWEIGHTED, label=f"ESS {100 * e.weighted.ess():.1f} %")
    right.plot(
        np.arange(1, len(w) + 1), np.arange(1, len(w) + 1) / len(w), ":", color=_REFERENCE, label="equal weights"
    )
    right.set(xscale="log", xlabel="k heaviest samples", ylabel="share of the total weight", ylim=(0, 1))
    right.legend(frameon=False)
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
    ax.set(xlabel="x (nm)", ylabel="y (nm)", zlabel="z (nm)")
    return figure
