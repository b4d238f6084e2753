"""How well designs meet the law that their data were made by: hits, classes, distances, likelihoods."""

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import one_hot

from ..alphabets import DNA
from ..rng import step_generator
from ..study import Metric
from .figures import NATIVE, SAMPLED, TRAINING
from .logos import information, logo
from .motif_grammar import MotifGrammar

__all__ = ["MotifJudge"]

_KNOWN = 10**9  # sequences whose frequencies are those of a law


class MotifJudge:
    """How well sequences ``x (n, L)`` meet their classes ``label (n,)``, by the law itself.

    Args:
        false_positives: share of background sequences whose best place counts as a motif.
    """

    def __init__(self, grammar: MotifGrammar, false_positives: float) -> None:
        self.grammar, self.false_positives = grammar, false_positives
        self.thresholds = [
            grammar.threshold(block.columns, false_positives, step_generator(0)) for block in grammar.blocks
        ]

    def rows(self, x: Tensor, label: Tensor) -> dict[str, Tensor]:
        """By name, a number for each sequence: what :meth:`metrics` averages."""
        logp = self.grammar.log_prob(x)
        return {
            "motif_hits": self.hits(x, label).double(),
            "class_accuracy": (logp.argmax(1) == label).double(),
            "log_likelihood": logp.gather(1, label[:, None])[:, 0] / x.shape[1],
            "gc_content": ((x == DNA.index("C")) | (x == DNA.index("G"))).double().mean(1),
        }

    def hits(self, x: Tensor, label: Tensor) -> Tensor:
        """Whether the block of its class is found (n,)."""
        found = torch.zeros(len(x), dtype=torch.bool)
        for c, (block, threshold) in enumerate(zip(self.grammar.blocks, self.thresholds, strict=True)):
            found[label == c] = self.grammar.log_odds(x[label == c], block.columns).amax(1) > threshold
        return found

    def spacing(self, x: Tensor, label: Tensor) -> Tensor:
        """Of sequences of classes of two motifs: whether the best places of the two are as far apart as planted."""
        right = []
        for c, block in enumerate(self.grammar.blocks):
            if len(block.parts) == 2:
                first, second = (self.grammar.log_odds(x[label == c], block.part(i)).argmax(1) for i in (0, 1))
                right.append(second - first == block.parts[1][0])
        return torch.cat(right).double() if right else torch.zeros(0)

    def diversity(self, x: Tensor, label: Tensor) -> float:
        """Mean share of places in which two sequences of a class differ."""
        shares = []
        for c in label.unique():
            own = one_hot(x[label == c], len(DNA)).double()
            n = len(own)
            shares.append((1 - own.mean(0).square().sum(-1)).mean() * n / max(n - 1, 1))
        return float(torch.stack(shares).mean())

    def metrics(self, x: Tensor, label: Tensor, test: Tensor, test_label: Tensor) -> dict[str, Metric]:
        """Beside held-out sequences (reference), and background with no motif (floor)."""
        n, generator = len(x), step_generator(0, 1)
        plain = torch.multinomial(self.grammar.background, x.numel(), True, generator=generator).view_as(x)
        sets = (x, label), (test, test_label), (plain, label)
        own, fresh, none = (self.rows(*s) for s in sets)
        metrics = {}
        for name, values in own.items():
            floor, reference = (float(other[name].mean()) for other in (none, fresh))
            metrics[name] = Metric(float(values.mean()), _error(values), n, floor, reference)
        metrics["log_likelihood"].unit = "nats a letter"
        right, planted, chance = (self.spacing(*s) for s in sets)
        if len(right):
            metrics["spacing"] = Metric(
                float(right.mean()),
                _error(right),
                len(right),
                floor=float(chance.mean()),
                reference=float(planted.mean()),
            )
        unlike, usual, most = (self.diversity(*s) for s in sets)
        unit = "of places, two of a class"
        metrics["diversity"] = Metric(unlike, n=n, floor=most, reference=usual, unit=unit)
        return metrics

    def divergence(self, test: Tensor, label: Tensor, logp: Tensor) -> Metric:
        """``E[log p(x | c) − log q(x | c)]`` in nats, KL of the model q from the law; from above if it is a bound.

        The floor is that of background letters, without a motif.
        """
        true = self.grammar.log_prob(test).gather(1, label[:, None])[:, 0]
        excess, plain = true - logp.double(), true - self.grammar.background.log()[test].sum(1)
        return Metric(float(excess.mean()), _error(excess), len(test), float(plain.mean()), reference=0.0, unit="nats")

    def hit_figure(self, x: Tensor, label: Tensor, test: Tensor, test_label: Tensor) -> tuple[Figure, str]:
        """Hits of each class."""
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        ax = figure.subplots()
        for shift, (rows, which, name, colour) in zip(
            (-0.2, 0.2), ((test, test_label, "held out", NATIVE), (x, label, "samples", SAMPLED)), strict=True
        ):
            shares = [
                float(self.hits(rows, which)[which == c].double().mean()) for c in range(len(self.grammar.blocks))
            ]
            ax.bar([c + shift for c in range(len(shares))], shares, 0.38, color=colour, label=name)
        ax.axhline(self.false_positives, color=TRAINING, ls="--", lw=1, label="background")
        ax.set_xticks(range(len(self.grammar.blocks)), [b.name for b in self.grammar.blocks], rotation=20, ha="right")
        ax.set(ylabel="share with the motif of its class", ylim=(0, 1.05))
        ax.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
        return figure, (
            f"Synthetic DNA: share of sequences in which the motif of their class is found, among {len(x)} samples and "
            f"held-out sequences. A motif is found where its log-odds exceed what the best place of "
            f"{self.false_positives:.0%} of background sequences reaches (dashed)."
        )

    def logo_figure(self, x: Tensor, label: Tensor) -> tuple[Figure, str]:
        """Planted blocks, and the letters of samples where they are found."""
        blocks = self.grammar.blocks
        figure = Figure(figsize=(10, 1.5 * len(blocks) + 0.4), layout="constrained")
        axes = figure.subplots(len(blocks), 2, squeeze=False)
        for c, (block, threshold) in enumerate(zip(blocks, self.thresholds, strict=True)):
            own = x[label == c]
            best = self.grammar.log_odds(own, block.columns).max(1)
            places = best.indices[:, None] + torch.arange(len(block.columns))
            found = own.gather(1, places)[best.values > threshold]
            logo(axes[c, 0], block.columns, DNA, _KNOWN)
            shares = one_hot(found, len(DNA)).double().mean(0)
            if len(found) and information(shares, DNA, len(found)).any():
                logo(axes[c, 1], shares, DNA, len(found))
            else:
                axes[c, 1].axis("off")
                axes[c, 1].text(0.5, 0.5, "too few", transform=axes[c, 1].transAxes, ha="center", va="center")
            for ax in axes[c]:
                ax.xaxis.get_major_locator().set_params(integer=True)
            axes[c, 0].set_title(f"{block.name}, planted", fontsize="medium")
            axes[c, 1].set_title(f"{len(found)} of {len(own)} samples", fontsize="medium")
        return figure, (
            "Synthetic DNA: planted motifs (left), and samples of each class aligned at the place where its motif is "
            "found (right); those in which it is not are left out, so the right column flatters."
        )


def _error(values: Tensor) -> float | None:
    """Of the mean of independent values (n,); none of one."""
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
