"""Histograms of samples beside those of the truth, on one axis that neither an outlier nor a spike takes over."""

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from .distances import histogram

__all__ = ["densities"]

_HEIGHT = 2.0  # of the tallest bin of the truth: what is taller, such as a sample that carries all weight, is cut off


def densities(ax: Axes, edges: Tensor, sets: list[tuple[str, str, Tensor, Tensor | None]]) -> None:
    """Densities of ``values (n, …)`` between ``edges``, from sets of label, colour, values and weights ``(n,)``.

    The first set is the truth, which sets the height. The legend says what has nothing between the edges.
    """
    width, absent, top = np.diff(edges.numpy()), [], 0.0
    for label, colour, values, weights in sets:
        shares = histogram(values, edges, weights)[1:-1].numpy()
        if not shares.any():
            absent.append(label)
            continue
        ax.stairs(shares / width, edges.numpy(), color=colour, lw=1.4, label=label, fill=False)
        top = top or _HEIGHT * float((shares / width).max())
    highest = ax.get_ylim()[1]
    ax.set(ylabel="density", xlim=(float(edges[0]), float(edges[-1])), ylim=(0, min(top, highest) or None))
    note = f"off the axis: {', '.join(absent)}" if absent else None
    ax.legend(frameon=False, title=note, title_fontsize="medium")
