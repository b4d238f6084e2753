"""What peptides are like: letters, words, charge, hydrophobicity, lengths, and the rule of the enzyme."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from ..alphabets import AMINO_ACIDS
from ..study import Metric
from .spectra import jensen_shannon, words

__all__ = ["Peptides", "peptide_metrics"]

#: Hydropathy of A, C, D, …, Y (Kyte & Doolittle 1982).
HYDROPATHY = (1.8, 2.5, -3.5, -3.5, 2.8, -0.4, -3.2, 4.5, -3.9, 3.8, 1.9, -3.5, -1.6, -3.5, -4.5, -0.8, -0.7, 4.2,
              -0.9, -1.3)  # fmt: skip
_CHARGE = {"K": 1, "R": 1, "D": -1, "E": -1}


@dataclass(frozen=True)
class Peptides:
    """Numbers ``x (n, L)`` of amino acids, real where ``mask`` is; 0 elsewhere."""

    x: Tensor
    mask: Tensor

    @property
    def lengths(self) -> Tensor:
        return self.mask.sum(1)

    @property
    def charge(self) -> Tensor:
        """Lysines and arginines less aspartates and glutamates ``(n,)``."""
        return self._sum([float(_CHARGE.get(letter, 0)) for letter in AMINO_ACIDS])

    @property
    def hydropathy(self) -> Tensor:
        """Mean over residues ``(n,)``, by the scale of Kyte and Doolittle."""
        return self._sum(HYDROPATHY) / self.lengths

    @property
    def tryptic(self) -> Tensor:
        """Whether K or R (not before P) stand at the end and nowhere else, bool ``(n,)``."""
        basic, proline = self._is("KR"), self._is("P")
        cut = basic & ~torch.cat([proline[:, 1:], torch.zeros_like(proline[:, :1])], 1)
        last = torch.arange(self.x.shape[1]) == self.lengths[:, None] - 1
        return (cut == last).where(self.mask, True).all(1)

    def words(self, size: int) -> Tensor:
        """Counts ``(20^size,)`` of words."""
        return words(self.x, len(AMINO_ACIDS), size, self.mask).sum(0)

    def drawn(self, n: int, generator: torch.Generator) -> "Peptides":
        """``n`` of them by chance, none twice before all others are drawn."""
        rows = torch.randperm(len(self.x), generator=generator)[torch.arange(n) % len(self.x)]
        return Peptides(self.x[rows], self.mask[rows])

    def equal(self, generator: torch.Generator) -> "Peptides":
        """Letters that are equally likely at all places: lengths alone."""
        return Peptides(torch.randint(len(AMINO_ACIDS), self.x.shape, generator=generator) * self.mask, self.mask)

    def redealt(self, generator: torch.Generator) -> "Peptides":
        """The letters of all peptides dealt anew to their places: composition and lengths alone."""
        letters = self.x[self.mask]
        x = self.x.clone()
        x[self.mask] = letters[torch.randperm(len(letters), generator=generator)]
        return Peptides(x, self.mask)

    def _sum(self, scale: tuple[float, ...] | list[float]) -> Tensor:
        return (torch.tensor(scale, dtype=torch.float64)[self.x] * self.mask).sum(1)

    def _is(self, letters: str) -> Tensor:
        return torch.tensor([letter in letters for letter in AMINO_ACIDS])[self.x] & self.mask


def peptide_metrics(parts: Mapping[str, Peptides], tryptic: bool) -> dict[str, Metric]:
    """Samples against held-out peptides, beside training ones (reference) and ``redealt`` ones (floor).

    Few peptides are far from any law: of samples, of training, ``redealt`` and ``equal`` ones there are to be as many.
    What redealing leaves as it was has peptides of equally likely letters (``equal``), or none, as its floor.
    """
    held, n = parts["held out"], len(parts["samples"].x)
    others = [parts[name] for name in ("samples", "redealt", "training")]
    letters = [_kl(parts[name].words(1), held.words(1)) for name in ("samples", "equal", "training")]
    pairs = [jensen_shannon(held.words(2), other.words(2)) for other in others]
    metrics = {
        "composition_kl": Metric(letters[0], n=n, floor=letters[1], reference=letters[2], unit="nat"),
        "words_2": Metric(pairs[0], n=n, floor=pairs[1], reference=pairs[2], unit="nat"),
    }
    for name, unit in (("charge", "e"), ("hydropathy", None)):
        apart = [float(wasserstein_distance(getattr(other, name), getattr(held, name))) for other in others]
        metrics[f"{name}_distance"] = Metric(apart[0], n=n, floor=apart[1], reference=apart[2], unit=unit)
    apart = [float(wasserstein_distance(other.lengths, held.lengths)) for other in others]
    metrics["length_distance"] = Metric(apart[0], n=n, reference=apart[2], unit="letters")
    if tryptic:
        share = [float(one.tryptic.double().mean()) for one in (others[0], others[1], held)]
        metrics["tryptic"] = Metric(share[0], (share[0] * (1 - share[0]) / n) ** 0.5, n, share[1], share[2])
    return metrics


def _kl(a: Tensor, b: Tensor) -> float:
    """KL(a ‖ b) in nats of the laws that counts are, one added to each of b."""
    p, q = a.double() / a.sum(), (b + 1) / (b + 1).sum()
    return float((torch.xlogy(p, p) - torch.xlogy(p, q)).sum())
