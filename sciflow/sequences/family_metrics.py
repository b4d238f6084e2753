"""What a model of families is worth: held-out likelihood beside profiles, and samples beside held-out sequences."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import wasserstein_distance
from torch import Tensor

from ..rng import step_generator
from ..study import Metric
from .alphabet import NOTHING, SYMBOLS, alphabet, letters
from .figures import NATIVE, SAMPLED, TRAINING
from .metrics import ratio
from .profile_hmm import ProfileHMM

__all__ = ["Sequences", "family_figures", "family_metrics"]

_PSEUDOCOUNTS = (0.3, 1.0, 3.0)
_COLUMNS = 40  # of a profile in a row of its figure
_BINS = 40  # of lengths, at most
_BASELINES = {"background": "letters alone", "profile": "site-independent profile", "hmm": "profile HMM"}


@dataclass
class Sequences:
    """Samples of families beside the splits, and log-densities (n,) of the test split where there are any."""

    x: Tensor
    family: Tensor
    train: dict[str, Tensor]
    val: dict[str, Tensor]
    test: dict[str, Tensor]
    logp: Tensor | None
    aligned: bool

    @cached_property
    def hmms(self) -> dict[str, list[ProfileHMM]]:
        """Of each kind one a family, fitted to training sequences; clusters weigh the same, and the pseudocount is the
        one of the highest validation likelihood."""
        found: dict[str, list[ProfileHMM]] = {}
        _, cluster, sizes = self.train["cluster"].unique(return_inverse=True, return_counts=True)
        weights = 1 / sizes[cluster].double()
        for family in self.train["family"].unique():
            own = self.train["family"] == family
            found.setdefault("background", []).append(ProfileHMM.letters(self.train["x"][own], weights[own]))
            val = self.val["x"][self.val["family"] == family]
            for name, fit in (("profile", ProfileHMM.independent), ("hmm", ProfileHMM.fit)) if self.aligned else ():
                fitted = [fit(self.train["aligned"][own], weights[own], p) for p in _PSEUDOCOUNTS]
                best = max(fitted, key=lambda hmm: float(hmm.log_prob(val).sum()))
                found.setdefault(name, []).append(best)
        return found

    def score(self, name: str, x: Tensor, family: Tensor) -> Tensor:
        """Log-densities (n,) of sequences by the baseline of their family."""
        found = torch.empty(len(x), dtype=torch.float64)
        for k, hmm in enumerate(self.hmms[name]):
            found[family == k] = hmm.log_prob(x[family == k])
        return found

    @cached_property
    def scores(self) -> dict[str, Tensor]:
        """Of the test split, by each baseline."""
        return {name: self.score(name, self.test["x"], self.test["family"]) for name in self.hmms}

    def profile(self, x: Tensor, family: Tensor) -> Tensor:
        """(K, letters): shares of letters, and of none, in the match columns of the first family."""
        own = x[family == 0]
        return self.hmms["hmm"][0].expected(own) / len(own)


def family_metrics(s: Sequences, nearest: Mapping[str, np.ndarray]) -> dict[str, Metric]:
    """Likelihoods in nats a letter, the end of a sequence included; errors over clusters.

    ``nearest``: of ``samples`` and of ``held out`` sequences the identity to the nearest training sequence.
    """
    n, lengths = len(s.test["x"]), _lengths(s.test["x"])
    metrics: dict[str, Metric] = {}
    background = s.scores["background"]
    found = {**s.scores} if s.logp is None else {"model": s.logp.double(), **s.scores}
    for name, logp in found.items():
        value, error = ratio(logp, lengths, s.test["cluster"])
        floor = ratio(background, lengths, s.test["cluster"])[0]
        metrics[f"log_likelihood_{name}"] = Metric(value, error, n, floor=floor, unit="nats a letter")
    for name, score in s.scores.items() if s.logp is not None else ():
        assert s.logp is not None
        gain = ratio(s.logp.double() - score, lengths, s.test["cluster"])
        metrics[f"gain_over_{name}"] = Metric(*gain, n, floor=0.0, unit="nats a letter")
    drawn = letters(s.x)
    copies = set(letters(s.train["x"]))
    held = nearest["held out"]
    same = nearest["samples"]
    metrics["identity_to_train"] = Metric(
        float(same.mean()), float(same.std() / len(same) ** 0.5), len(same), reference=float(held.mean())
    )
    metrics["copies"] = Metric(float(np.mean([d in copies for d in drawn])), n=len(drawn), reference=0.0)
    metrics["unique"] = Metric(len(set(drawn)) / len(drawn), n=len(drawn), reference=1.0)
    spread = [float(wasserstein_distance(_lengths(x), lengths)) for x in (s.x, s.train["x"])]
    metrics["length_distance"] = Metric(spread[0], n=len(drawn), reference=spread[1], unit="letters")
    if s.aligned:
        odds = [
            (s.score("hmm", x, f) - s.score("background", x, f)).mean()
            for x, f in ((s.x, s.family), (_shuffled(s.test["x"]), s.test["family"]), (s.test["x"], s.test["family"]))
        ]
        metrics["hmm_log_odds"] = Metric(
            float(odds[0]), n=len(drawn), floor=float(odds[1]), reference=float(odds[2]), unit="nats"
        )
    return metrics


def family_figures(s: Sequences, nearest: Mapping[str, np.ndarray]) -> tuple[dict[str, Figure], dict[str, str]]:
    """Figures by name, and by the same names what each shows and how to read it."""
    drawn = {"lengths": _length_figure(s), "identities": _identity_figure(nearest)}
    if s.aligned:
        drawn["profile"] = _profile_figure(s)
        if s.logp is not None:
            drawn["likelihoods"] = _likelihood_figure(s)
    return {name: figure for name, (figure, _) in drawn.items()}, {name: text for name, (_, text) in drawn.items()}


def _likelihood_figure(s: Sequences) -> tuple[Figure, str]:
    assert s.logp is not None
    figure = Figure(figsize=(8, 4), layout="constrained")
    lengths = _lengths(s.test["x"])
    own = s.logp.double() / lengths
    others = {name: s.scores[name] / lengths for name in ("profile", "hmm")}
    every = torch.cat([own, *others.values()])
    known = every[every.isfinite()]
    ends = float(known.min()) - 0.05, float(known.max()) + 0.05
    for ax, (name, other) in zip(figure.subplots(1, 2, sharex=True, sharey=True), others.items(), strict=True):
        ax.plot(other, own, ".", color=NATIVE, alpha=0.7)
        ax.plot(ends, ends, color="black", lw=1)
        ax.set(
            xlabel=f"{_BASELINES[name]} (nats a letter)",
            title=f"above the line: {float((own > other).double().mean()):.0%}",
            xlim=ends,
            ylim=ends,
            aspect="equal",
        )
    figure.axes[0].set_ylabel("model (nats a letter)")
    return figure, (
        f"Log-likelihoods of {len(own)} held-out sequences, of clusters that training has not seen, divided by their "
        "lengths: the model against a site-independent profile and against a profile HMM, both fitted to the training "
        "alignment and summed over all alignments of the sequence. Above the line the model predicts better."
    )


def _length_figure(s: Sequences) -> tuple[Figure, str]:
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    ax = figure.subplots()
    parts = {"training": (s.train["x"], TRAINING), "held out": (s.test["x"], NATIVE), "samples": (s.x, SAMPLED)}
    lengths = {name: _lengths(x).numpy() for name, (x, _) in parts.items()}
    every = np.concatenate(list(lengths.values()))
    wide = -(-int(np.ptp(every) + 1) // _BINS)
    bins = np.arange(every.min(), every.max() + 1 + wide, wide) - 0.5
    for name, own in lengths.items():
        shares = np.full(len(own), 1 / len(own))
        ax.hist(own, bins.tolist(), weights=shares, histtype="step", color=parts[name][1], label=name, lw=1.5)
    ax.set(xlabel="letters", ylabel="share of sequences")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)
    return figure, (
        f"Lengths of {len(s.x)} samples beside those of training and held-out sequences"
        f"{f', in bins of {wide} letters' if wide > 1 else ''}."
    )


def _identity_figure(nearest: Mapping[str, np.ndarray]) -> tuple[Figure, str]:
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    ax = figure.subplots()
    bins = np.linspace(min(0.4, *(float(v.min()) for v in nearest.values())), 1, 41)
    for (name, values), colour in zip(nearest.items(), (SAMPLED, NATIVE), strict=True):
        ax.hist(
            values, bins.tolist(), weights=np.full(len(values), 1 / len(values)), color=colour, alpha=0.6, label=name
        )
    ax.set(xlabel="identity to the nearest training sequence", ylabel="share of sequences")
    ax.legend(frameon=False)
    return figure, (
        f"Identity (1 − edit distance / length of the longer) of {len(nearest['samples'])} samples to the nearest "
        "training sequence, beside that of held-out sequences, which are of other clusters than those of training. 1 "
        "is a copy; samples are given training sequences as their homologues, and may be nearer to them."
    )


def _profile_figure(s: Sequences) -> tuple[Figure, str]:
    profiles = {"held out": s.profile(s.test["x"], s.test["family"]), "samples": s.profile(s.x, s.family)}
    used = alphabet(s.train["x"]).nonzero().flatten().tolist()
    columns = len(profiles["samples"])
    height = -(-columns // _COLUMNS)
    figure = Figure(figsize=(9, 2.2 * height + 0.6), layout="constrained")
    axes = figure.subplots(2 * height, 1, squeeze=False, sharey=True)[:, 0]
    palette = dict(zip("ACGTU", ("#009E73", "#0072B2", "#E69F00", "#D55E00", "#D55E00"), strict=True))
    for row in range(height):
        shown = np.arange(row * _COLUMNS, min((row + 1) * _COLUMNS, columns))
        for ax, (name, profile) in zip(axes[2 * row :], profiles.items(), strict=False):
            bottom = np.zeros(len(shown))
            for k, symbol in enumerate(used):
                share = profile[shown, symbol].numpy()
                colour = palette[SYMBOLS[symbol]] if len(used) == 4 else colormaps["tab20"](k)
                ax.bar(shown + 1, share, 0.9, bottom, color=colour, label=SYMBOLS[symbol])
                bottom += share
            ax.set(ylabel=name, ylim=(0, 1), xlim=(row * _COLUMNS + 0.3, (row + 1) * _COLUMNS + 0.7))
    axes[-1].set_xlabel("match column")
    axes[0].legend(ncols=10, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), fontsize="small")
    return figure, (
        "Letters in the match columns of the family's profile HMM, for held-out sequences and samples, expected over "
        "all alignments of each; what a bar lacks to 1 is deleted."
    )


def _lengths(x: Tensor) -> Tensor:
    return (x < NOTHING).sum(1)


def _shuffled(x: Tensor) -> Tensor:
    """The letters of each sequence in another order, by a generator of its own."""
    order = torch.rand(x.shape, generator=step_generator(0)) + (x == NOTHING)
    return x.gather(1, order.argsort(1))
