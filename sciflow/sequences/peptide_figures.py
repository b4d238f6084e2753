"""Peptides, drawn: letters, lengths, charge and hydropathy, samples beside real ones."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from ..alphabets import AMINO_ACIDS
from .figures import NATIVE, SAMPLED, TRAINING
from .peptide_metrics import Peptides

__all__ = ["peptide_figures"]

_COLOURS = {"training": TRAINING, "held out": NATIVE, "samples": SAMPLED}


def peptide_figures(parts: Mapping[str, Peptides]) -> tuple[dict[str, Figure], dict[str, str]]:
    """Figures by name, and by the same names how to read each; ``redealt`` peptides are drawn where they differ."""
    shown = {name: parts[name] for name in _COLOURS}
    n = len(parts["samples"].x)
    letters = Figure(figsize=(8, 3.2), layout="constrained")
    ax = letters.subplots()
    for i, (name, one) in enumerate(shown.items()):
        counts = one.words(1)
        ax.bar(np.arange(20) + 0.27 * (i - 1), counts / counts.sum(), 0.27, color=_COLOURS[name], label=name)
    ax.set(ylabel="share of residues", xticks=np.arange(20), xticklabels=list(AMINO_ACIDS))
    ax.legend(frameon=False)

    physical = Figure(figsize=(9, 3.2), layout="constrained")
    for ax, (name, label, step) in zip(
        physical.subplots(1, 3),
        (("lengths", "letters", 1.0), ("charge", "net charge (e)", 1.0), ("hydropathy", "mean hydropathy", 0.4)),
        strict=True,
    ):
        beside = {**shown, "redealt": parts["redealt"]} if name != "lengths" else shown
        values = {part: getattr(one, name).numpy() for part, one in beside.items()}
        low, high = (f([f(v) for v in values.values()]) for f in (min, max))
        bins = np.arange(low - step / 2, high + step, step)
        for part, v in values.items():
            ax.hist(v, bins.tolist(), density=True, histtype="step", lw=1.5, label=part,
                    color=_COLOURS.get(part, "black"), ls="-" if part in _COLOURS else ":")  # fmt: skip
        ax.set(xlabel=label)
    physical.axes[0].set_ylabel("density of peptides")
    physical.axes[1].legend(frameon=False, fontsize="small")
    return {"letters": letters, "properties": physical}, {
        "letters": f"Shares of amino acids in {n} samples, in as many training peptides and in held-out ones.",
        "properties": (
            f"Lengths, net charges (K and R less D and E) and mean hydropathies (Kyte and Doolittle) of {n} samples "
            "beside training and held-out peptides. Dotted: the letters of held-out peptides, dealt anew to all places."
        ),
    }
