"""What a sequence of a family is worth without a network: a profile with or without insertions, and letters alone."""

import math

import torch
from torch import Tensor

from .alphabet import NOTHING, alphabet

__all__ = ["ProfileHMM"]

_MATCH, _INSERT, _DELETE = range(3)
_NEVER = -1e300
_AT_ONCE = 32  # sequences whose posteriors are in memory together


class ProfileHMM:
    r"""Densities of sequences under columns k = 1…K that emit a letter or are deleted, with insertions between them.

    States are M_k, I_k, D_k; from any state of column k the chain goes to M_{k+1}, I_k or D_{k+1}, and from column K to
    I_K or the end, so that probabilities of all sequences of all lengths sum to one. A sequence is scored by the
    forward algorithm, over all its alignments. For letters :math:`x_1 … x_L` and f the log-probabilities of prefixes,

    .. math:: f^M_k(i) = e_k(x_i) + \log \sum_s \exp(f^s_{k-1}(i-1) + t_{k-1}^{s \to M}),

    with I and D alike. A row is computed at once: the chain of deletions is a cumulative sum.

    Args:
        transitions: logarithms (K + 1, 3, 3) of what the chain does from M_k, I_k, D_k (rows), k = 0 before the first
            column; M_{K+1} is the end.
        match: logarithms (K, letters) of what columns emit.
        insert: logarithms (letters,) of what insertions emit.

    Source: Krogh et al. 1994, doi:10.1006/jmbi.1994.1104; Durbin, Eddy, Krogh & Mitchison 1998, chapter 5.
    """

    def __init__(self, transitions: Tensor, match: Tensor, insert: Tensor) -> None:
        self.transitions, self.match, self.insert = transitions, match, insert

    @classmethod
    def fit(cls, aligned: Tensor, weights: Tensor, pseudocount: float) -> "ProfileHMM":
        """Of an alignment (n, C), with as many columns as have a letter in half of the rows, by their weights (n,).

        Counts are added to ``pseudocount`` times the family's mean frequencies (of transitions: over all columns).
        """
        there, weights = aligned < NOTHING, weights.double()
        kept = weights @ there.double() >= weights.sum() / 2
        background = _background(aligned, weights)
        counts = torch.zeros(int(kept.sum()) + 1, 9, dtype=torch.float64)
        state, k = torch.zeros(len(aligned), dtype=torch.long), 0
        for column in range(aligned.shape[1]):
            if kept[column]:
                to = torch.where(there[:, column], _MATCH, _DELETE)
                counts[k].index_add_(0, 3 * state + to, weights)
                state, k = to, k + 1
            else:
                rows = there[:, column]
                counts[k].index_add_(0, 3 * state[rows] + _INSERT, weights[rows])
                state = torch.where(rows, _INSERT, state)
        counts[k].index_add_(0, 3 * state + _MATCH, weights)
        counts = counts.view(-1, 3, 3)
        mean = counts.sum(0) + 1
        transitions = counts + pseudocount * mean / mean.sum(1, keepdim=True)
        transitions[-1, :, _DELETE] = 0
        emitted = _counts(aligned[:, kept], weights) + pseudocount * background
        return cls(_log(transitions), _log(emitted), background.log())

    @classmethod
    def independent(cls, aligned: Tensor, weights: Tensor, pseudocount: float) -> "ProfileHMM":
        """Columns that know nothing of each other: each has its own letters and its own share of gaps; no insertions.

        A site-independent profile, as a density of sequences: the sum over all ways to align them to its columns.
        """
        weights, background = weights.double(), _background(aligned, weights)
        letters = _counts(aligned, weights)
        share = letters.sum(1) / weights.sum()
        gaps = (weights.sum() * (1 - share) + pseudocount * (1 - share.mean())) / (weights.sum() + pseudocount)
        gaps = gaps.clamp(min=1e-300)  # of an alignment that has none
        to = torch.stack([1 - gaps, torch.zeros_like(gaps), gaps], 1)
        to = torch.cat([to, torch.tensor([[1.0, 0, 0]])])[:, None].expand(-1, 3, 3)
        return cls(to.log(), _log(letters + pseudocount * background), background.log())

    @classmethod
    def letters(cls, x: Tensor, weights: Tensor) -> "ProfileHMM":
        """No columns: letters by their frequencies in ``x (n, L)``, and a length that is geometric."""
        weights = weights.double()
        end = weights.sum() / (weights @ (x < NOTHING).sum(1).double() + weights.sum())
        to = torch.stack([end, 1 - end, torch.zeros_like(end)]).log().expand(1, 3, 3)
        background = _background(x, weights)
        return cls(to, torch.empty(0, NOTHING, dtype=torch.float64), background.log())

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-densities (n,) in nats of encoded sequences (n, L), in float64; −∞ for letters that it never emits."""
        t = self.transitions
        none = t.new_full((len(x), len(t)), -math.inf)
        start = none.clone()
        start[:, 0] = 0
        row = self._deleted(start, none, t)
        ends = [self._end(row)]
        match = torch.nn.functional.pad(self.match, (0, 1)).T  # the last one is for places beyond the end
        insert = torch.nn.functional.pad(self.insert, (0, 1))
        for letter in x.T:
            into_m, into_i = (torch.stack(row, -1) + t[..., to] for to in (_MATCH, _INSERT))
            matched = torch.cat([none[:, :1], _sum(into_m)[:, :-1] + match[letter]], 1)
            row = self._deleted(matched, _sum(into_i) + insert[letter][:, None], t)
            ends.append(self._end(row))
        found = torch.stack(ends, 1).gather(1, (x < NOTHING).sum(1, keepdim=True))[:, 0]
        return found.masked_fill(found < _NEVER / 2, -math.inf)

    def expected(self, x: Tensor) -> Tensor:
        """Letters (K, letters) that columns are expected to have emitted for ``x``, over all alignments: the posterior.

        It is the gradient of the log-density by the logarithms of the emissions.
        """
        match = self.match.clone().requires_grad_()
        hmm = ProfileHMM(self.transitions, match, self.insert)
        parts = [torch.autograd.grad(hmm.log_prob(part).sum(), match)[0] for part in x.split(_AT_ONCE)]
        return torch.stack(parts).sum(0)

    def _end(self, row: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return _sum(torch.stack([part[:, -1] for part in row], -1) + self.transitions[-1, :, _MATCH])

    @staticmethod
    def _deleted(m: Tensor, i: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The row of M, I and D, where D_{k+1} = (M_k or I_k → D) or (D_k → D)."""
        inward = _sum(torch.stack([m, i], -1) + t[:, :2, _DELETE])[:, :-1]
        passed = t[:-1, _DELETE, _DELETE].cumsum(0)
        d = (inward - passed).logcumsumexp(1) + passed
        return m, i, torch.cat([torch.full_like(m[:, :1], -math.inf), d], 1)


def _sum(parts: Tensor) -> Tensor:
    """log Σ exp over the last axis; where all are −∞ a number that is as good, with gradients that are 0."""
    most = parts.detach().amax(-1, keepdim=True).clamp(min=_NEVER)
    return (parts - most).exp().sum(-1).clamp(min=1e-300).log() + most[..., 0]


def _counts(aligned: Tensor, weights: Tensor) -> Tensor:
    """(C, letters)."""
    one_hot = torch.nn.functional.one_hot(aligned, NOTHING + 1)[..., :NOTHING].double()
    return torch.einsum("n,nca->ca", weights.double(), one_hot)


def _background(x: Tensor, weights: Tensor) -> Tensor:
    counts = _counts(x, weights).sum(0) + alphabet(x)
    return counts / counts.sum()


def _log(counts: Tensor) -> Tensor:
    return (counts / counts.sum(-1, keepdim=True)).log()
