"""What importance weights look like: against energy, and how few samples hold them."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from .logweights import FEW, ess, log_mean_weight

__all__ = ["WEIGHTS", "headline", "weight_figure"]

WEIGHTS = (
    "Log-weights against energy, and the share of the total weight held by the k heaviest samples. When a handful of "
    "samples carries most of the weight, do not trust the averages."
)

# Okabe & Ito's palette, readable by everyone.
_FLOW, _REWEIGHTED, _EQUAL = "#E69F00", "#009E73", "black"
_LOWEST = -20.0  # log-weight that is still shown


def headline(name: str, n: int, logw: Tensor | None) -> str:
    """The title of every figure of n samples: of what they are, how many, and what their weights are worth."""
    if logw is None:
        return f"{name}: N = {n}"
    share = float(ess(logw))
    few = ": too few to reweight" if share * n < FEW else ""
    return f"{name}: N = {n}, raw ESS {100 * share:.3g} % ({share * n:.0f} effective{few})"


def weight_figure(logw: Tensor, energy: Tensor) -> Figure:
    """Log-weights ``(n,)`` against energies ``(n,)`` in kT, and the cumulative weight of the heaviest samples."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    relative = (logw.double() - log_mean_weight(logw)).numpy()
    likely = relative > _LOWEST
    low, high = np.quantile(energy.numpy()[likely], [0.0, 0.99])
    shown = likely & (energy.numpy() < high + 2)
    heights = relative[shown]
    left.plot(energy.numpy()[shown], heights, ".", color=_FLOW, ms=1.5, alpha=0.5, rasterized=True)
    left.set(xlabel="potential energy (kT)", ylabel="log w − log Z", xlim=(low - 2, high + 2))
    left.set_ylim(heights.min() - 1, heights.max() + 1)
    if not shown.all():
        left.set_title(f"{(~shown).sum()} of {len(shown)} samples are right of this or below", fontsize="medium")
    w = np.sort(logw.double().softmax(0).numpy())[::-1]
    k = np.arange(1, len(w) + 1)
    right.plot(k, w.cumsum(), color=_REWEIGHTED, label=f"ESS {100 * float(ess(logw)):.1f} %")
    right.plot(k, k / len(w), ":", color=_EQUAL, label="equal weights")
    right.set(xscale="log", xlabel="k heaviest samples", ylabel="share of the total weight", ylim=(0, 1))
    right.legend(frameon=False)
    return figure
