"""Sequence logos."""

import math
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from torch import Tensor

from ..alphabets import DNA, RNA
from .alphabet import GAP

__all__ = ["information", "logo"]

# Okabe & Ito's palette, readable by everyone; amino acids by what their side chains are.
_NUCLEOTIDES = dict(zip("ACGTU", ("#009E73", "#0072B2", "#E69F00", "#D55E00", "#D55E00"), strict=True))
_SIDE_CHAINS = {"AVLIMFWY": "black", "STNQCGP": "#009E73", "KRH": "#0072B2", "DE": "#D55E00"}
_WIDTH = 0.92  # of a letter, in columns


def information(frequencies: Tensor, letters: str, n: int) -> np.ndarray:
    r"""Heights (L, K) of letters in bits: f_a R, of the information R of a column times its share of letters.

    .. math:: R = \log_2 s - \Big(-\sum_a f_a \log_2 f_a\Big) - \frac{s - 1}{2 \ln 2\; n}

    f are frequencies among the letters, gaps left out, s their number, n how many were counted; the last term is what
    chance gives to few rows. Nothing is below 0. Gaps have no height.

    Source: Schneider et al. 1986, doi:10.1016/0022-2836(86)90165-8.
    """
    f = frequencies.double().numpy()
    proper = np.array([letter != GAP for letter in letters])
    size, share = int(proper.sum()), f[:, proper].sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        among = np.where(proper & (share > 0), f / share, 0)
        entropy = -np.where(among > 0, among * np.log2(among), 0).sum(1, keepdims=True)
        few = (size - 1) / (2 * math.log(2) * n * share)
    return among * np.where(share > 0, np.clip(math.log2(size) - entropy - few, 0, None), 0) * share


def logo(ax: Axes, frequencies: Tensor, letters: str, n: int, first: int = 1) -> None:
    """Stacks of letters, the highest on top, of the frequencies (L, K) of ``n`` rows; ``first`` is the first column."""
    heights = information(frequencies, letters, n)
    for column, stack in enumerate(heights, first):
        base = 0.0
        for k in stack.argsort():
            if stack[k] > 0:
                place = Affine2D().scale(_WIDTH, stack[k]).translate(column - _WIDTH / 2, base)
                ax.add_patch(PathPatch(place.transform_path(_glyph(letters[k])), lw=0, color=_colour(letters, k)))
                base += stack[k]
    most = math.log2(len(letters.replace(GAP, "")))
    ax.set(xlim=(first - 0.6, first + len(heights) - 0.4), ylim=(0, most), ylabel="bits")
    ax.spines[["top", "right"]].set_visible(False)


def _colour(letters: str, k: int) -> str:
    if set(letters) <= set(DNA + RNA + GAP):
        return _NUCLEOTIDES[letters[k]]
    return next(colour for group, colour in _SIDE_CHAINS.items() if letters[k] in group)


@cache
def _glyph(letter: str) -> Path:
    """The outline of a letter, filling the unit square."""
    outline = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = outline.get_extents()
    return Affine2D().translate(-box.x0, -box.y0).scale(1 / box.width, 1 / box.height).transform_path(outline)
