"""Figures of any flow whose data may have a known density: one quantity at a time, and log-density against truth."""

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..training import Samples
from .study import Drawing, Splits

__all__ = ["DATA", "FLOW", "TRUTH", "calibration", "histograms", "same_number"]

# Okabe & Ito's palette, readable by everyone.
DATA, FLOW, TRUTH = "#0072B2", "#D55E00", "black"  # of Okabe & Ito's palette, readable by everyone
DRAWS = 40_000  # of the known density, for its histograms


def histograms(
    quantities: Callable[[Tensor], dict[str, np.ndarray]],
    samples: Samples,
    splits: Splits,
    truth: Callable[[int, int], Tensor | None],
) -> Drawing:
    """One panel for each of the ``quantities`` of a point; ``truth(n, stream)`` draws from the known density."""
    assert isinstance(samples.x, Tensor)
    every = torch.cat([splits.train, splits.val, splits.test])
    exact = truth(DRAWS, 5)
    data, drawn = quantities(every.double()), quantities(samples.x.double())
    known = {} if exact is None else quantities(exact)
    columns = min(len(data), 4 if len(data) % 4 in (0, 3) else 3)  # few panels are left empty
    rows = -(-len(data) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.6 * rows), layout="constrained")
    axes = np.asarray(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axis, name in zip(axes, data, strict=False):
        low, high = np.quantile(data[name], [0.0005, 0.9995])
        bins = np.linspace(low, high, 61)
        axis.hist(data[name], bins, density=True, color=DATA, alpha=0.4, label="data")
        if name in known:
            axis.hist(known[name], bins, density=True, histtype="step", color=TRUTH, lw=0.9, label="known density")
        axis.hist(drawn[name], bins, density=True, histtype="step", color=FLOW, lw=1.4, label="samples")
        axis.set(xlabel=name, xlim=(low, high), yticks=[])
    for axis in axes[len(data) :]:
        axis.axis("off")
    axes[0].set_ylabel("density")
    axes[0].legend(frameon=False, fontsize=7)
    line = "" if exact is None else f", and the known density (black: {DRAWS} draws of it)"
    return Drawing(
        figure, f"One quantity at a time: all {len(every)} data (filled), {len(samples.x)} samples (orange){line}."
    )


def calibration(samples: Samples, splits: Splits, log_density: Callable[[Tensor], Tensor | None]) -> dict[str, Drawing]:
    """Log-density of the flow against the known one, point by point; nothing where either is not known."""
    assert isinstance(samples.x, Tensor)
    panels = {}
    for name, x, known in (("held-out data", splits.test, samples.test_logp), ("samples", samples.x, samples.logq)):
        exact = log_density(x)
        if known is not None and exact is not None:
            panels[name] = exact.numpy(), known.double().numpy()
    if not panels:
        return {}
    figure = Figure(figsize=(4.2 * len(panels), 4.0), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels), sharex=True, sharey=True))
    both = np.concatenate([np.concatenate(pair) for pair in panels.values()])
    low, high = np.quantile(both, 0.002) - 1, both.max() + 0.3
    for axis, colour, (name, (logp, logq)) in zip(axes, (DATA, FLOW), panels.items(), strict=False):
        _against(axis, logp, logq, colour, low, high)
        sign, label = (1, "KL(p‖q)") if name == "held-out data" else (-1, "KL(q‖p)")
        gap = sign * (logp - logq)
        error = gap.std() / len(gap) ** 0.5
        axis.set_title(f"{name}: {label} = {gap.mean():.3f} ± {error:.3f} nat", fontsize=9)
    axes[0].set_ylabel("log-density of the flow (nat)")
    outside = max(float(np.mean(np.minimum(*pair) < low)) for pair in panels.values())
    return {
        "log_density": Drawing(
            figure,
            "Log-density of the flow (q) against the known one (p), a dot a point; on the diagonal both agree. "
            f"At most {100 * outside:.1f} % of the points lie below the frame.",
        )
    }


def same_number(samples: Samples, splits: Splits, most: int) -> dict[str, Tensor]:
    """As many held-out data as samples, at most ``most``, in float64: what dots may be compared by eye."""
    assert isinstance(samples.x, Tensor)
    n = min(len(samples.x), len(splits.test), most)
    return {f"held-out data ({n})": splits.test[:n].double(), f"samples ({n})": samples.x[:n].double()}


def _against(axis: Axes, logp: np.ndarray, logq: np.ndarray, colour: str, low: float, high: float) -> None:
    axis.plot(logp, logq, ".", color=colour, ms=2, alpha=0.35, rasterized=True)
    axis.plot([low, high], [low, high], color=TRUTH, lw=0.8)
    axis.set(xlabel="known log-density (nat)", xlim=(low, high), ylim=(low, high), aspect="equal")
