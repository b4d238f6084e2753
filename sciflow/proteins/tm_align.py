"""TM-scores of chains whose correspondence is unknown: alignment by superposition and dynamic programming."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..paths.alignment import kabsch
from .tm import ascend, d0, kernel

__all__ = ["nearest_tm", "pairwise_tm", "tm_align"]

_FRAGMENT, _FRAGMENTS = 32, 10  # residues of a fragment, fragments of a chain; every pair of fragments is tried
_EVERY = 8  # to rank these trials, every eighth residue of one chain against all of the other
_STAGES = ((12, 1), (3, 3))  # of the best so many trials, so many alignments at full resolution
_STEPS, _LAST_STEPS = 2, 10  # of the ascent between alignments and after the last
_REACH = 1.0  # nm: pairs further apart do not align
_ALIGNED = 10  # of the chains that a nearest one is sought among, after ranking
_FAR = 1e4  # d0: where padding is put, out of reach
_PAIRS = 8, 256  # in a batch: what the cache of a CPU holds, and on other devices


def tm_align(
    x: Float[Tensor, "B N 3"], mask_x: Bool[Tensor, "B N"], y: Float[Tensor, "B M 3"], mask_y: Bool[Tensor, "B M"]
) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B 2"]]:
    """``x`` superposed on ``y``, Cα traces [nm] of any lengths, and their TM-scores over the lengths of x and of y.

    Fragments of one chain are superposed on fragments of the other, and the superpositions are ranked by a dynamic
    programme on some of the residues. The best go on in turns: the alignment in the order of the chains that is best
    for a superposition (a dynamic programme without gap penalty), then a superposition better for that alignment. Both
    raise ``Σ 1/(1 + d²/d0²)`` over pairs within 1 nm, with d0 of the shorter chain. A lower bound, as all such
    searches.

    Source: Zhang, Skolnick 2005 (Nucleic Acids Res. 33) for the score and the turns; the search is our own.
    """
    a, b, lengths = _scaled(x, mask_x, y, mask_y)
    moved, score = _ranked(a, b, lengths)
    scale = d0(lengths.amin(-1))
    unit = torch.ones_like(scale[:, None])
    for kept, rounds in _STAGES:
        moved = _take(moved, score, kept)
        for _ in range(rounds):
            partner, paired = _alignment(_near(moved, b, lengths))
            target = b[:, None].expand(-1, kept, -1, -1).gather(2, partner[..., None].expand(-1, -1, -1, 3))
            moved = ascend(moved, target, paired, unit, _STEPS)
        score = (paired * kernel((moved - target).square().sum(-1), unit[..., None])).sum(-1)
    moved, target, paired = (_take(v, score, 1) for v in (moved, target, paired))
    relative = d0(lengths) / scale[:, None]
    last = ascend(moved.expand(-1, 2, -1, -1), target, paired, relative, _LAST_STEPS)
    scores = (paired * kernel((last - target).square().sum(-1), relative[..., None])).sum(-1) / lengths
    return last[:, 0] * scale[:, None, None] + _centre(y, mask_y), scores


def pairwise_tm(x: Sequence[Tensor], y: Sequence[Tensor] | None = None) -> Float[Tensor, "n m"]:
    """TM-scores of Cα traces ``(N, 3)`` [nm]: of each of ``x`` with each of ``y``, over the length of that of ``x``.

    Without ``y``, of all pairs within ``x``; one on the diagonal.
    """
    others = x if y is None else y
    pairs = [(i, j) for i in range(len(x)) for j in range(len(others)) if y is not None or i < j]
    found = torch.eye(len(x), len(others)) if y is None else torch.empty(len(x), len(others))
    for i, j, batch in _batches(x, others, pairs):
        scores = tm_align(*batch)[1].cpu()
        found[i, j] = scores[:, 0]
        if y is None:
            found[j, i] = scores[:, 1]
    return found


def nearest_tm(x: Sequence[Tensor], y: Sequence[Tensor]) -> tuple[Float[Tensor, "n"], list[int]]:
    """The largest TM-score of each trace of ``x`` to one of ``y``, over the length of that of ``x``, and to which.

    All are ranked by the best superposition of fragments; the ten first are aligned. A lower bound: where none is like
    ``x``, one that is ranked behind them may be nearer, by some hundredths.
    """
    promise = torch.empty(len(x), len(y))
    for i, j, batch in _batches(x, y, [(i, j) for i in range(len(x)) for j in range(len(y))]):
        promise[i, j] = _ranked(*_scaled(*batch))[1].amax(-1).cpu()
    best = promise.topk(min(_ALIGNED, len(y))).indices
    found = torch.zeros_like(promise)
    for i, j, batch in _batches(x, y, [(i, j) for i, row in enumerate(best.tolist()) for j in row]):
        found[i, j] = tm_align(*batch)[1][:, 0].cpu()
    return found.amax(1), found.argmax(1).tolist()


def _batches(
    x: Sequence[Tensor], y: Sequence[Tensor], pairs: list[tuple[int, int]]
) -> Iterator[tuple[list[int], list[int], tuple[Tensor, Tensor, Tensor, Tensor]]]:
    """Pairs of like lengths together, as their indices and what :func:`tm_align` takes."""
    pairs = sorted(pairs, key=lambda pair: (len(x[pair[0]]), len(y[pair[1]])))
    size = _PAIRS[x[0].device.type != "cpu"]
    for start in range(0, len(pairs), size):
        i, j = map(list, zip(*pairs[start : start + size], strict=True))
        yield i, j, (*_padded([x[k] for k in i]), *_padded([y[k] for k in j]))


def _padded(traces: list[Tensor]) -> tuple[Tensor, Tensor]:
    """In float32, which is enough, about their centres, and masks."""
    traces = [(trace - trace.mean(0)).float() for trace in traces]
    mask = pad_sequence([torch.ones_like(trace[:, 0], dtype=torch.bool) for trace in traces], batch_first=True)
    return pad_sequence(traces, batch_first=True), mask


def _centre(x: Tensor, mask: Tensor) -> Tensor:
    here = mask[..., None].to(x.dtype)
    return (here * x).sum(1, keepdim=True) / here.sum(1, keepdim=True)


def _scaled(x: Tensor, mask_x: Tensor, y: Tensor, mask_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both traces about their centres in units of d0 of the shorter, padding out of reach, and their lengths (B, 2)."""
    lengths = torch.stack([mask_x.sum(-1), mask_y.sum(-1)], -1).to(x.dtype)
    scale = d0(lengths.amin(-1))[:, None, None]
    a = torch.where(mask_x[..., None], (x - _centre(x, mask_x)) / scale, _FAR)
    return a, torch.where(mask_y[..., None], (y - _centre(y, mask_y)) / scale, -2 * _FAR), lengths


def _ranked(a: Tensor, b: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """``a`` superposed on ``b`` by every pair of fragments ``(B, K, N, 3)``, and what promises well ``(B, K)``."""
    moved = _trials(a, b, lengths)
    return moved, _programme(_near(moved[:, :, ::_EVERY], b, lengths))[-1][..., -1]


def _trials(x: Tensor, y: Tensor, lengths: Tensor) -> Tensor:
    """``x (B, N, 3)`` superposed by every pair of fragments, ``(B, pairs, N, 3)``."""
    (a, of_a), (b, of_b) = (_fragments(z, n) for z, n in zip((x, y), lengths.unbind(-1), strict=True))
    weight = (of_a[:, :, None] & of_b[:, None]).flatten(1, 2)[..., None].to(x.dtype)
    a, b = (v.flatten(1, 2) for v in torch.broadcast_tensors(a[:, :, None], b[:, None]))
    centre_a, centre_b = ((weight * v).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True) for v in (a, b))
    rotation = kabsch(weight * (a - centre_a), b - centre_b)
    return (x[:, None] - centre_a) @ rotation.mT + centre_b


def _fragments(x: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Evenly spaced fragments ``(B, fragments, residues, 3)`` of ``x (B, N, 3)``, and what of them is in the chain."""
    spread = torch.linspace(0, 1, _FRAGMENTS, device=x.device)
    start = ((length - _FRAGMENT).clamp_min(0)[:, None] * spread).long()
    place = start[..., None] + torch.arange(_FRAGMENT, device=x.device)
    inside = place < length[:, None, None]
    flat = place.clamp_max(x.shape[1] - 1).flatten(1)[..., None].expand(-1, -1, 3)
    return x.gather(1, flat).unflatten(1, place.shape[1:]), inside


def _near(x: Tensor, y: Tensor, lengths: Tensor) -> Tensor:
    """``1/(1 + |x_i − y_j|²)`` of ``x (B, K, N, 3)`` and ``y (B, M, 3)``, zero out of reach: ``(B, K, N, M)``."""
    flat = x.flatten(1, 2)
    ones = 1 + flat.square().sum(-1)[..., None] + y.square().sum(-1)[:, None]
    near = torch.baddbmm(ones, flat, y.mT, alpha=-2).reciprocal_()
    least = kernel(y.new_tensor(_REACH**2), d0(lengths.amin(-1)))[:, None, None]
    return torch.where(near > least, near, 0.0).unflatten(1, x.shape[1:3])


def _programme(value: Tensor) -> list[Tensor]:
    """Rows ``(…, M)`` of the best sums of ``value (…, N, M)`` over pairs in the order of both, up to (i, j).

    Without gap penalty the recursion along a row is a running maximum.
    """
    rows = [torch.zeros_like(value[..., 0, :])]
    for one in value.unbind(-2):
        new = one.clone()
        new[..., 1:] += rows[-1][..., :-1]
        rows.append(torch.maximum(new, rows[-1]).cummax(-1).values)
    return rows


def _alignment(value: Tensor) -> tuple[Tensor, Tensor]:
    """Of each i the j it is paired with in the best sum, and whether it is: ``(…, N)`` each."""
    rows = _programme(value)
    j = torch.full_like(value[..., 0, :1], value.shape[-1] - 1, dtype=torch.long)
    partner, paired = [], []
    for above, row in zip(reversed(rows[:-1]), reversed(rows[1:]), strict=True):
        best = row.gather(-1, j.clamp_min(0))
        here = (j >= 0) & (best > above.gather(-1, j.clamp_min(0)))
        first = torch.searchsorted(row, best)  # the pair that raised the sum: the leftmost place that has it
        partner.append(first)
        paired.append(here)
        j = torch.where(here, first - 1, j)
    return torch.cat(partner[::-1], -1), torch.cat(paired[::-1], -1)


def _take(x: Tensor, score: Tensor, n: int) -> Tensor:
    """The ``n`` best by ``score (B, K)`` of ``x (B, K, …)``."""
    return x[torch.arange(len(x), device=x.device)[:, None], score.topk(n).indices]
