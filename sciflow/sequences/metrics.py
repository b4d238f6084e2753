"""What rows of an alignment are worth, without an oracle: pairs of columns, columns, lengths, and what is new."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.nn.functional import one_hot

from ..study import Metric
from .alphabet import GAP, Alphabet
from .identity import hamming
from .structure import pair_table

__all__ = ["Alignment", "alignment_metrics", "correlation", "ratio"]

_NEAR = 5  # columns in which a near copy may differ from a training row


@dataclass(frozen=True)
class Alignment:
    """Rows x (n, L) in ``letters``, and the columns ``pairs`` (P, 2) that pair in the consensus structure."""

    x: Tensor
    letters: str
    pairs: Tensor

    def __len__(self) -> int:
        return len(self.x)

    @property
    def gap(self) -> int:
        return Alphabet(self.letters).gap

    @cached_property
    def frequencies(self) -> Tensor:
        """(L, K), float64."""
        return one_hot(self.x, len(self.letters)).double().mean(0)

    @cached_property
    def covariances(self) -> Tensor:
        """f_ij(a, b) − f_i(a) f_j(b) for i < j and all letters: one vector, float32."""
        hot = (one_hot(self.x, len(self.letters)) - self.frequencies).float().flatten(1)
        column = torch.arange(self.x.shape[1]).repeat_interleave(len(self.letters))
        return (hot.T @ hot / len(self))[column[:, None] < column]

    @cached_property
    def bonds(self) -> tuple[Tensor, Tensor]:
        """(n, P): whether the letters of a pair of columns can pair, and whether both are letters."""
        a, b = (self.x[:, side] for side in self.pairs.T)
        both = (a != self.gap) & (b != self.gap)
        return pair_table(self.letters)[a, b] & both, both

    @cached_property
    def lengths(self) -> Tensor:
        return (self.x != self.gap).sum(1)

    @cached_property
    def sequences(self) -> list[str]:
        """Without gaps."""
        return [row.replace(GAP, "") for row in Alphabet(self.letters).decode(self.x)]


def alignment_metrics(rows: Mapping[str, Alignment], logp: Mapping[str, Tensor], cluster: Tensor) -> dict[str, Metric]:
    """Metrics of ``samples``; floor: the site-independent ``profile``; reference: rows ``held out``.

    Those of other rows than these three and ``training`` follow under their own names, beside the same numbers.

    Args:
        rows: alignments by name, of which distances are to ``training``.
        logp: log-probabilities (n,) of held-out rows by the same names, where there are any; of ``samples`` it is that
            of the model, or a bound on it.
        cluster: (n,) of held-out rows.
    """
    found = {name: _measured(one, rows) for name, one in rows.items() if name != "training"}
    columns = torch.full((len(cluster),), float(rows["training"].x.shape[1]), dtype=torch.float64)
    for name, known in logp.items():
        found[name]["log_likelihood"] = ratio(known, columns, cluster)
    floors, references = found.pop("profile"), found.pop("held out")
    ideal = {"unique": 1.0, "copies": 0.0}
    units = {"length_distance": "letters", "nearest_train": "columns"}
    units |= {"log_likelihood": "nats a column", "column_kl": "nats a column"}
    metrics = {}
    for name, values in found.items():
        for kind, (value, error) in values.items():
            floor, reference = (beside.get(kind, (None, None))[0] for beside in (floors, references))
            n = len(cluster) if kind == "log_likelihood" else len(rows[name])
            key = kind if name == "samples" else f"{kind}_{name}"
            metrics[key] = Metric(value, error, n, floor, ideal.get(kind, reference), units.get(kind))
    return metrics


def _measured(rows: Alignment, every: Mapping[str, Alignment]) -> dict[str, tuple[float, float | None]]:
    """Values and standard errors over rows, where an error is that simple."""
    train, held_out = every["training"], every["held out"]
    own = torch.arange(len(rows))
    found: dict[str, tuple[float, float | None]] = {}
    if len(rows.pairs):
        paired, both = rows.bonds
        found["pairing"] = ratio(paired.double().sum(1), both.double().sum(1), own)
    if len(rows.pairs) and GAP in rows.letters:
        a, b = (rows.x[:, side] == rows.gap for side in rows.pairs.T)
        found["gap_agreement"] = _mean((a == b).double().mean(1))
    p, q = train.frequencies, (rows.frequencies * len(rows) + 0.5) / (len(rows) + 0.5 * len(rows.letters))
    found["column_kl"] = float(torch.special.xlogy(p, p / q).sum(1).mean()), None
    found["covariance"] = correlation(rows.covariances, train.covariances), None
    other = train if rows is held_out else held_out
    found["covariance_held_out"] = correlation(rows.covariances, other.covariances), None
    away = hamming(rows.x, train.x)
    found["nearest_train"] = _mean(away.double())
    found["near_copies"] = _mean((away <= _NEAR).double())
    known = set(train.sequences)
    found["copies"] = sum(s in known for s in rows.sequences) / len(rows), None
    found["unique"] = len(set(rows.sequences)) / len(rows), None
    found["length_distance"] = float(wasserstein_distance(rows.lengths, train.lengths)), None
    return found


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's r; 0 where one of them does not vary: the covariances of one row over and over, say."""
    a, b = (x.double() - x.double().mean() for x in (a, b))
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size else 0.0


def ratio(total: Tensor, size: Tensor, cluster: Tensor) -> tuple[float, float]:
    """Σ total / Σ size, and its standard error: clusters, not rows, are independent."""
    found = total.sum() / size.sum()
    _, which = cluster.unique(return_inverse=True)
    n = int(which.max()) + 1
    residual = torch.zeros(n, dtype=torch.float64).index_add_(0, which, total - found * size)
    error = (residual.square().sum() * n / max(n - 1, 1)).sqrt() / size.sum()
    return float(found), float(error)


def _mean(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / len(values) ** 0.5)
