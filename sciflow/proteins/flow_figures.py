"""How few steps a flow of backbones needs, drawn: quality against steps, and how straight its paths are."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ..study import Metric
from .figures import NATIVE, SAMPLED, TRAINING

__all__ = ["path_lengths", "quality_by_steps"]

_COLOURS, _MARKERS = (SAMPLED, NATIVE, "#009E73", "#CC79A7"), "osD^"  # Okabe & Ito's
_LABELS = {
    "ca_ca": "Cα–Cα within 0.37–0.39 nm",
    "c_n": "C–N within 0.01 nm",
    "clashes": "clashes per 100 residues",
    "ramachandran": "in the region of training",
    "helix": "helix",
    "pairwise_tm": "TM-score of pairs",
}


def quality_by_steps(curves: Mapping[str, Mapping[int, Mapping[str, Metric]]]) -> tuple[Figure, str]:
    """Metrics of samples by the name of a model and its number of steps, with the errors and the natives' values."""
    measured = [set(metrics) for curve in curves.values() for metrics in curve.values()]
    every = sorted({steps for curve in curves.values() for steps in curve})
    names = [name for name in _LABELS if all(name in metrics for metrics in measured)]
    columns = min(3, len(names))
    figure = Figure(figsize=(3.4 * columns, 2.8 * -(-len(names) // columns) + 0.3), layout="constrained")
    for k, name in enumerate(names):
        ax = figure.add_subplot(-(-len(names) // columns), columns, k + 1)
        for (label, curve), colour, marker in zip(curves.items(), _COLOURS, _MARKERS, strict=False):
            steps = sorted(curve)
            found = [curve[n][name] for n in steps]
            errors = [metric.error or 0.0 for metric in found]
            ax.errorbar(
                steps, [metric.value for metric in found], errors, fmt=f"{marker}-", color=colour, label=label, ms=4
            )
        if found[0].reference is not None:
            ax.axhline(found[0].reference, color=TRAINING, ls="--", lw=1, label="held-out natives")
        ax.set(title=_LABELS[name], xscale="log", xticks=every, xticklabels=every, xlabel="steps")
        ax.minorticks_off()
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure, (
        f"Quality of samples of {' and '.join(curves)} against the number of steps, each a call of the network; "
        "bars are a standard error over chains, the dashed line is what held-out natives score."
    )


def path_lengths(before: Tensor, after: Tensor) -> tuple[Figure, str]:
    """Lengths ``(n,)`` of the paths of samples over the distances of their ends, before and after rectification."""
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    ax = figure.subplots()
    pair = {"before": before.detach().cpu().numpy(), "after": after.detach().cpu().numpy()}
    bins = np.linspace(1, max(1.01, *(float(v.max()) for v in pair.values())), 40).tolist()
    for (label, ratio), colour in zip(pair.items(), (SAMPLED, NATIVE), strict=True):
        ax.hist(ratio, bins, histtype="step", color=colour, lw=2, label=f"{label}: mean {ratio.mean():.2f}")
    ax.axvline(1, color="black", lw=0.8)
    ax.set(xlabel="length of the path / distance of its ends", ylabel="samples")
    ax.legend(frameon=False)
    return figure, (
        f"How straight the paths of {len(before)} samples are before rectification and of {len(after)} after: at 1 "
        "(line) a path is a geodesic and one step follows it."
    )
