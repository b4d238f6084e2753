"""Alignments, drawn: logos, consensus structure, covariances, and how new the rows are, samples beside real ones."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Arc

from .alphabet import GAP
from .identity import hamming
from .logos import logo
from .metrics import Alignment, correlation

__all__ = ["NATIVE", "SAMPLED", "TRAINING", "alignment_figures"]

# Okabe & Ito's palette, readable by everyone.
NATIVE, SAMPLED, TRAINING = "#0072B2", "#D55E00", "#999999"
_COLUMNS = 60  # of a logo in a row of its figure
_MOST = 300  # columns in a logo
_KEPT = "Columns are those that were kept, numbered from 1; meta.json has their numbers in the file."


def alignment_figures(rows: Mapping[str, Alignment], structure: str | None) -> tuple[dict[str, Figure], dict[str, str]]:
    """Figures of ``samples``, ``held out`` and ``training`` by name, and by the same names how to read each."""
    drawn = {"logo": _logos(rows), "covariances": _covariances(rows), "novelty": _novelty(rows)}
    if structure is not None and len(rows["samples"].pairs):
        drawn |= {"structure": _arcs(rows, structure), "pairs": _pairs(rows)}
    return {name: figure for name, (figure, _) in drawn.items()}, {name: text for name, (_, text) in drawn.items()}


def _logos(rows: Mapping[str, Alignment]) -> tuple[Figure, str]:
    shown = {name: rows[name] for name in ("held out", "samples")}
    length = rows["samples"].x.shape[1]
    lines = -(-min(length, _MOST) // _COLUMNS)
    width = -(-min(length, _MOST) // lines)
    figure = Figure(figsize=(0.17 * width + 1, 2.6 * lines), layout="constrained")
    axes = figure.subplots(2 * lines, 1, squeeze=False)[:, 0]
    for k, ax in enumerate(axes):
        (name, one), start = list(shown.items())[k % 2], k // 2 * width
        logo(ax, one.frequencies[start : start + width], one.letters, len(one), start + 1)
        ax.set(xlim=(start + 0.4, start + width + 0.6), ylabel=f"{name}\nbits")
    axes[-1].set_xlabel("column")
    return figure, (
        f"Sequence logos of {len(shown['held out'])} held-out rows (above) and {len(shown['samples'])} samples: the "
        "height of a stack is the information of its column in bits, corrected for the number of rows, times its "
        f"share of letters; gaps have no height. {_KEPT}{f' The first {_MOST} columns.' if length > _MOST else ''}"
    )


def _arcs(rows: Mapping[str, Alignment], structure: str) -> tuple[Figure, str]:
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    ax = figure.subplots()
    scale = ScalarMappable(Normalize(0, 1), "viridis")
    reach = 0.0
    for name, (start, stop) in {"samples": (0, 180), "held out": (180, 360)}.items():
        paired, both = rows[name].bonds
        shares = paired.double().sum(0) / both.sum(0)  # NaN, and drawn in white, where no row has both letters
        for (i, j), share in zip((rows[name].pairs + 1).tolist(), shares.tolist(), strict=True):
            wide, colour = j - i, scale.to_rgba(share)
            ax.add_patch(Arc(((i + j) / 2, 0), wide, wide, theta1=start, theta2=stop, color=colour, lw=1.6))
            reach = max(reach, wide / 2)
        ax.text(1, (0.9 if start == 0 else -0.9) * reach, name, va="center")
    ax.axhline(0, color="black", lw=0.8)
    ax.set(xlim=(0.5, len(structure) + 0.5), ylim=(-1.05 * reach, 1.05 * reach), xlabel="column", yticks=[])
    ax.spines[["top", "right", "left"]].set_visible(False)
    figure.colorbar(scale, ax=ax, label="share that can pair")
    return figure, (
        f"The {len(rows['samples'].pairs)} pairs of the consensus structure, an arc each, coloured by how often the "
        f"letters are G–C, A–U or G–U where both are letters: {len(rows['samples'])} samples above, "
        f"{len(rows['held out'])} held-out rows below. {_KEPT}"
    )


def _covariances(rows: Mapping[str, Alignment]) -> tuple[Figure, str]:
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    known = rows["training"].covariances
    low, high = float(known.min()), float(known.max())
    for ax, name in zip(figure.subplots(1, 2, sharex=True, sharey=True), ("held out", "samples"), strict=True):
        own = rows[name].covariances
        image = ax.hexbin(known.numpy(), own.numpy(), gridsize=70, bins="log", mincnt=1, cmap="viridis")
        ax.plot([low, high], [low, high], color="black", lw=0.8)
        ax.set(title=f"{name} ({len(rows[name])}): r = {correlation(own, known):.3f}", xlabel="training")
    figure.axes[0].set_ylabel("f(a, b) − f(a) f(b)")
    figure.colorbar(image, ax=figure.axes, label="pairs of letters")
    return figure, (
        "Covariances of all pairs of letters in all pairs of columns: of held-out rows (left) and of samples (right), "
        f"against those of {len(rows['training'])} training rows. Rows whose columns are independent lie along the "
        "horizontal; few rows scatter more, and held-out rows are of other clusters than training rows."
    )


def _novelty(rows: Mapping[str, Alignment]) -> tuple[Figure, str]:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    away, length = figure.subplots(1, 2)
    shown = {"held out": NATIVE, "samples": SAMPLED}
    distances = {name: hamming(rows[name].x, rows["training"].x).numpy() for name in shown}
    sizes = {name: rows[name].lengths.numpy() for name in ("training", *shown)}
    for ax, values in ((away, distances), (length, sizes)):
        every = np.concatenate(list(values.values()))
        edges = np.arange(every.min(), every.max() + 2) - 0.5
        for name, own in values.items():
            colour = {**shown, "training": TRAINING}[name]
            ax.hist(own, edges.tolist(), density=True, histtype="step", color=colour, label=name, lw=1.5)
        ax.xaxis.get_major_locator().set_params(integer=True)
    away.set(xlabel="columns that differ from the nearest training row", ylabel="share of rows")
    length.set(xlabel="letters")
    away.legend(frameon=False)
    length.legend(frameon=False)
    return figure, (
        f"Left: in how many of {rows['samples'].x.shape[1]} columns each of {len(rows['samples'])} samples differs "
        f"from the nearest training row, beside {len(rows['held out'])} held-out rows, which are of other clusters "
        "than training rows; 0 is a copy. Right: lengths without gaps."
    )


def _pairs(rows: Mapping[str, Alignment]) -> tuple[Figure, str]:
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    letters = rows["samples"].letters
    for ax, name in zip(figure.subplots(1, 2, sharey=True), ("held out", "samples"), strict=True):
        a, b = (rows[name].x[:, side].flatten() for side in rows[name].pairs.T)
        table = torch.zeros(len(letters), len(letters)).index_put_((a, b), torch.ones(len(a)), accumulate=True) / len(a)
        image = ax.imshow(100 * table, cmap="Blues", vmin=0, vmax=40)
        for (i, j), share in np.ndenumerate(100 * table.numpy()):
            ax.text(
                j, i, f"{share:.1f}", ha="center", va="center", color="white" if share > 20 else "black", fontsize=8
            )
        ax.set_xticks(range(len(letters)), list(letters))
        ax.set_yticks(range(len(letters)), list(letters))
        ax.set(title=name, xlabel="3' letter")
    figure.axes[0].set_ylabel("5' letter")
    figure.colorbar(image, ax=figure.axes, label="% of consensus pairs", extend="max")
    return figure, (
        f"Which letters stand at the {len(rows['samples'].pairs)} pairs of columns of the consensus structure, in % of "
        f"all pairs of all rows ({GAP} is a gap): held-out rows and samples. A–U, C–G, "
        "G–C and U–A are on the rising diagonal, G–U and U–G beside it."
    )
