"""Promoters for a given transcription signal."""

import gzip
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..alphabets import DNA
from ..errors import InputError, require_above
from ..rng import step_generator
from ..study import Metric
from ..training.tables import find_columns, numbers, read_rows
from .dna import DnaStudy, Regions, dna_tokens, read_table
from .figures import NATIVE, SAMPLED, TRAINING
from .files import Family
from .genome import BigWig, Genome
from .oracle import answers
from .spectra import shuffled

__all__ = ["PromoterStudy"]

_TABLE = "FANTOM_CAT.lv3_robust.tss.sortedby_fantomcage.hg38.v4.tsv"
_GENOME = "Homo_sapiens.GRCh38.dna.primary_assembly.fa"
_STRANDS = ("plus", "minus")
_SPLITS = {"chr8": "test", "chr9": "test", "chr10": "val"}
_COMPLEMENT = str.maketrans(DNA, DNA[::-1])
#: Words of the core promoter, as letters a place, and how far downstream of the start of transcription they begin.
_WORDS = {"TATA box": ("T A T A AT A", range(-36, -22)), "initiator": ("CT CT A ACGT AT CT CT", range(-4, 1))}


@dataclass
class PromoterStudy(DnaStudy):
    """Sequences around starts of transcription, for the signal of transcription at each base (Avdeyev et al. 2023,
    arXiv:2305.10699): human promoters from FANTOM CAGE, test chromosomes 8 and 9, validation chromosome 10.

    ``data.table`` has columns of numbers beside the name: the signal at each base.

    Attributes:
        length: bases, with the start of transcription after the first half.
        rows: starts of transcription, the strongest first.
    """

    length: int = 1024
    rows: int = 100_000

    condition: ClassVar[str] = "profile"

    def __post_init__(self) -> None:
        require_above(1, "study.", self, "length", "rows")

    @property
    def sources(self) -> tuple[str, ...]:
        return ("promoter",) if self.data.path is None else ()

    def read(self, raw: Path) -> Regions:
        """Letters and signal of the strand that is transcribed; signals are zero in regions that are known as bad."""
        folder = raw / "promoter"
        table = folder / _TABLE
        header, starts = read_rows(table)
        places = find_columns(table, header, [["chr"], ["TSS"], ["strand"]])
        genome = Genome(folder / _GENOME)
        signals = {s: BigWig(folder / f"agg.{strand}.bw.bedgraph.bw") for s, strand in zip("+-", _STRANDS, strict=True)}
        bad = _intervals([folder / f"fantom.blacklist8.{strand}.bed.gz" for strand in _STRANDS])
        sequences, profiles, split, dropped = [], [], [], Counter[str]()
        for chrom, place, strand in ([row[i] for i in places] for row in starts[: self.rows]):
            first = int(float(place)) - self.length // 2 + (strand == "-")
            letters = genome.letters(chrom, first, first + self.length)
            if set(letters) - set(DNA) or not letters:
                dropped["with ambiguous letters, or beyond the ends"] += 1
                continue
            signal = signals[strand].values(chrom, first, first + self.length)
            for start, stop in bad.get(chrom, ()):
                signal[max(start - first, 0) : max(stop - first, 0)] = 0
            back = strand == "-"
            sequences.append(letters[::-1].translate(_COMPLEMENT) if back else letters)
            profiles.append(signal[::-1] if back else signal)
            split.append(_SPLITS.get(chrom, "train"))
        if not sequences:
            raise InputError(f"{table}: none of its {len(starts)} starts lies in {folder / _GENOME}; fetch both again")
        condition = torch.from_numpy(np.stack(profiles))[..., None]
        return Regions(dna_tokens(sequences, folder / _GENOME), condition, split, dropped=dropped)

    def own(self, family: Family, x: Tensor) -> Regions:
        if self.data.table is None:
            raise InputError(f"{self.data.path}: give the signal at each base as well, with study.data.table=FILE")
        header, rows, group = read_table(self.data.table, family.names)
        if len(header) != x.shape[1]:
            raise InputError(f"{self.data.table}: {len(header)} columns of signal, sequences have {x.shape[1]} bases")
        values = numbers(self.data.table, header, rows, range(len(header)))
        return Regions(x, torch.from_numpy(values).float()[..., None], group=group)

    def judge(self, samples: Tensor, condition: Tensor, splits: dict[str, dict[str, Tensor]]) -> dict[str, Metric]:
        test, noise = splits["test"]["x"], shuffled(splits["test"]["x"], seed=self.seed)
        metrics = {}
        for name, (word, window) in _WORDS.items():
            places = [p + test.shape[1] // 2 for p in window]
            share = [float(_found(x, word)[:, places].any(1).double().mean()) for x in (samples, noise, test)]
            error = (share[0] * (1 - share[0]) / len(samples)) ** 0.5
            metrics[name.lower().replace(" ", "_")] = Metric(share[0], error, len(samples), share[1], share[2])
        if self.evaluation.oracle is None:
            print("sp_mse left out: it takes an oracle of yours, study.evaluation.oracle=FILE", file=sys.stderr)
            return metrics
        real = test[torch.arange(len(samples)) % len(test)]
        drawn, told = (answers(self.evaluation.oracle, x).mean(1) for x in (samples, real))
        chance = told[torch.randperm(len(told), generator=step_generator(self.seed))]
        gaps, floor = (drawn - told).square(), float((chance - told).square().mean())
        metrics["sp_mse"] = Metric(float(gaps.mean()), float(gaps.std()) / len(gaps) ** 0.5, len(gaps), floor)
        return metrics

    def draw(self, samples: Tensor, condition: Tensor, splits: dict[str, dict[str, Tensor]]) -> tuple[Figure, str]:
        """How often the words of core promoters begin at each place."""
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        parts = {"training": (splits["train"]["x"], TRAINING), "held out": (splits["test"]["x"], NATIVE)}
        parts["samples"] = (samples, SAMPLED)
        for ax, (name, (word, _)) in zip(figure.subplots(1, 2), _WORDS.items(), strict=True):
            for part, (x, colour) in parts.items():
                share = _found(x, word).double().mean(0)
                place = torch.arange(len(share)) - x.shape[1] // 2
                ax.plot(place, share, color=colour, lw=1, label=part)
            ax.set(title=name, xlabel="place from the start of transcription (bases)", xlim=(-100, 100))
        figure.axes[0].set_ylabel("share of sequences")
        figure.axes[0].legend(frameon=False)
        return figure, (
            f"Share of sequences in which the TATA box (TATAWA) and the initiator (YYANWYY) begin at each place, among "
            f"{len(samples)} samples, training and held-out promoters."
        )


def _found(x: Tensor, word: str) -> Tensor:
    """Where a word begins in ``x (n, L)``, bool ``(n, L)``."""
    letters = word.split()
    there = torch.zeros_like(x, dtype=torch.bool)
    width = x.shape[1] - len(letters) + 1
    there[:, :width] = True
    for i, accepted in enumerate(letters):
        ok = torch.tensor([letter in accepted for letter in DNA])
        there[:, :width] &= ok[x[:, i : i + width]]
    return there


def _intervals(paths: Sequence[Path]) -> dict[str, list[tuple[int, int]]]:
    """Intervals of BED files by chromosome."""
    found: dict[str, list[tuple[int, int]]] = {}
    for path in paths:
        with gzip.open(path, "rt") as file:
            for line in file:
                if line.strip() and not line.startswith(("#", "track", "browser")):
                    chrom, start, stop = line.split()[:3]
                    found.setdefault(chrom, []).append((int(start), int(stop)))
    return found
