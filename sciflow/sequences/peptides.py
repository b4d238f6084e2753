"""Peptides of any length: pieces of proteins as trypsin cuts them, or one's own."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.utils.data import Dataset

from ..alphabets import AMINO_ACIDS
from ..errors import InputError, require_share
from ..rng import step_generator
from ..study import Evaluation, Metric, finite, require_prepared
from ..training import Model, Samples, TensorsDataset, load_tensors, save_tensors, split_clusters
from .alphabet import NOTHING, Alphabet
from .family import Comparison
from .files import Family, read_family, write_fasta
from .identity import identities
from .peptide_figures import peptide_figures
from .peptide_metrics import Peptides, peptide_metrics

__all__ = ["PeptideFiles", "PeptideStudy", "digest"]

_RESIDUES = "ALA CYS ASP GLU PHE GLY HIS ILE LYS LEU MET ASN PRO GLN ARG SER THR VAL TRP TYR"


@dataclass
class PeptideFiles:
    """What is learnt from.

    Attributes:
        path: FASTA or CSV (column ``sequence``) of peptides; none: the proteins of the fetched data set, cut.
        digest: cut the sequences of ``path`` as trypsin does, for they are proteins.
        shortest, longest: letters; others are left out, and counted.
        held_out: share of the validation and of the test split.
    """

    path: Path | None = None
    digest: bool = False
    shortest: int = 6
    longest: int = 24
    held_out: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise InputError(f"study.data.shortest={self.shortest} must be from 1 to study.data.longest={self.longest}")
        require_share("study.data.", self, held_out=0.4)


@dataclass
class PeptideStudy:
    """Peptides in the letters of amino acids, of the lengths of those that are learnt from.

    By default tryptic ones, of the chains of protein structures: a law of which one rule is known, so that samples can
    be told right from wrong without an oracle. Proteins that have a peptide in common are in one split.
    """

    data: PeptideFiles = field(default_factory=PeptideFiles)
    evaluation: Comparison = field(default_factory=Comparison)
    architecture: Any = None
    seed: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        return ("structures",) if self.data.path is None else ()

    @property
    def tryptic(self) -> bool:
        """Whether peptides are cut from proteins here."""
        return self.data.path is None or self.data.digest

    def prepare(self, raw: Path | None, out: Path) -> None:
        if self.data.path is None:
            files = _structures(raw or Path("data/raw"))
            sequences = sorted({chain for file in files for chain in _chains(file)} - {""})
            dropped: dict[str, int] = {}
        else:
            family = _proper(self.data.path)
            sequences, dropped = family.sequences, family.dropped
        pieces = [digest(one) if self.tryptic else [one] for one in sequences]
        lengths = [len(piece) for cut in pieces for piece in cut]
        shortest, longest = self.data.shortest, self.data.longest
        longer, shorter = sum(n > longest for n in lengths), sum(n < shortest for n in lengths)
        peptides, groups = _grouped(pieces, shortest, longest)
        if len(set(groups)) < 3:
            cut = "" if self.tryptic else "; whole proteins are cut by study.data.digest=true"
            raise InputError(
                f"{self.data.path or 'structures'}: {len(peptides)} distinct peptides of {shortest} to {longest} "
                f"letters in {len(set(groups))} groups, too few for three splits; give more, or other "
                f"study.data.shortest and study.data.longest{cut}"
            )
        if longer + shorter and not self.tryptic:
            print(
                f"prepare: {longer} of {len(lengths)} peptides are longer than study.data.longest={longest}, {shorter} "
                f"shorter than study.data.shortest={shortest}; they are left out",
                file=sys.stderr,
            )
        parts = split_clusters(groups, dict.fromkeys(("test", "val"), self.data.held_out), self.seed)
        for split, rows in parts.items():
            x, mask = encoded([peptides[i] for i in rows], self.data.longest)
            save_tensors({"x": x, "mask": mask}, out / f"{split}.safetensors")
        meta = {
            "proteins" if self.tryptic else "sequences": len(sequences),
            "peptides": {split: len(rows) for split, rows in parts.items()},
            "groups": len(set(groups)),
            "left out": {f"longer than {longest}": longer, f"shorter than {shortest}": shorter, **dropped},
        }
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def dataset(self, data: Path, split: str) -> Dataset[Any]:
        return TensorsDataset(load_tensors(data / f"{split}.safetensors"), f"{data}/{split}")

    def model(self, data: Path) -> Model:
        require_prepared(self, data, "data")
        if self.architecture is None:
            raise InputError("model: none chosen; say model=posterior_flow")
        model: Model = self.architecture.build(len(AMINO_ACIDS))
        return model

    def conditions(self, data: Path, indices: Sequence[int], split: str = "train") -> dict[str, Tensor]:
        """Lengths of training peptides, in an order of chance, again and again."""
        masks = load_tensors(data / "train.safetensors")["mask"]
        order = torch.randperm(len(masks), generator=step_generator(self.seed))
        return {"mask": masks[order[torch.tensor(list(indices)) % len(masks)]]}

    def write(self, samples: Samples, out: Path) -> None:
        """``samples.fasta``."""
        assert isinstance(samples.x, Tensor)
        assert samples.cond is not None
        rows = decoded(samples.x, samples.cond["mask"])
        write_fasta([f"{i:05d}" for i in range(len(rows))], rows, out / "samples.fasta")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        require_prepared(self, data, "data")
        assert isinstance(samples.x, Tensor)
        assert samples.cond is not None
        train, test = (load_tensors(data / f"{split}.safetensors") for split in ("train", "test"))
        n, dealer = len(samples.x), step_generator(self.seed, 2)
        parts = {
            "samples": Peptides(samples.x, samples.cond["mask"]),
            "held out": Peptides(test["x"], test["mask"]),
            "training": Peptides(train["x"], train["mask"]).drawn(n, step_generator(self.seed, 1)),
        }
        parts["redealt"] = parts["held out"].drawn(n, dealer).redealt(dealer)
        parts["equal"] = parts["redealt"].equal(dealer)
        metrics = peptide_metrics(parts, self.tryptic)
        known, few = set(decoded(train["x"], train["mask"])), self.evaluation.compared
        drawn = decoded(samples.x, samples.cond["mask"])
        all_training = train["x"].masked_fill(~train["mask"], NOTHING)
        alike = [
            identities(parts[name].x.masked_fill(~parts[name].mask, NOTHING)[:few], all_training).max(1)
            for name in ("samples", "held out", "redealt")
        ]
        metrics |= {
            "identity_to_train": Metric(float(alike[0].mean()), float(alike[0].std()) / len(alike[0]) ** 0.5,
                                        len(alike[0]), float(alike[2].mean()), float(alike[1].mean())),
            "copies": Metric(sum(row in known for row in drawn) / len(drawn), n=len(drawn), reference=0.0),
            "unique": Metric(len(set(drawn)) / len(drawn), n=len(drawn), reference=1.0),
        }  # fmt: skip
        figures: dict[str, Figure]
        figures, captions = peptide_figures(parts)
        return Evaluation(finite(metrics), figures, captions)


def digest(protein: str) -> list[str]:
    """The pieces that trypsin leaves of a protein: cut after K and R, but not before P (Keil 1992)."""
    return re.findall(r".*?[KR](?!P)|.+$", protein)


def encoded(peptides: Sequence[str], width: int) -> tuple[Tensor, Tensor]:
    """Numbers ``(n, width)``, 0 beyond the end, and where they are real."""
    x = Alphabet(AMINO_ACIDS).encode([peptide.ljust(width, AMINO_ACIDS[0]) for peptide in peptides])
    return x, torch.arange(width) < torch.tensor([[len(peptide)] for peptide in peptides])


def decoded(x: Tensor, mask: Tensor) -> list[str]:
    """Letters of the real places."""
    lengths = mask.sum(1).tolist()
    return [row[:length] for row, length in zip(Alphabet(AMINO_ACIDS).decode(x), lengths, strict=True)]


def _grouped(pieces: Sequence[Sequence[str]], shortest: int, longest: int) -> tuple[list[str], list[int]]:
    """Distinct peptides of these lengths, and the group of each: proteins with a peptide in common are of one."""
    number: dict[str, int] = {}
    protein, peptide = [], []
    for i, cut in enumerate(pieces):
        for one in cut:
            if shortest <= len(one) <= longest:
                protein.append(i)
                peptide.append(number.setdefault(one, len(number)))
    n = len(pieces) + len(number)
    links = coo_array(([1] * len(protein), (protein, [len(pieces) + j for j in peptide])), shape=(n, n))
    groups = connected_components(links, directed=False)[1][len(pieces) :].tolist() if protein else []
    return list(number), np.unique(groups, return_inverse=True)[1].tolist()


def _proper(path: Path) -> Family:
    family = read_family(path)
    if family.letters != AMINO_ACIDS:
        raise InputError(f"{path}: reads as nucleotides ({family.letters}); give peptides or proteins")
    return family


def _structures(raw: Path) -> list[Path]:
    files = sorted((raw / "structures").rglob("*.pdb"))
    if not files:
        raise InputError(f"{raw / 'structures'}: no PDB files; run `sciflow fetch structures`, or give data.path=FILE")
    return files


def _chains(file: Path) -> Iterator[str]:
    """Sequences of unbroken stretches of the chains of a PDB file, from its CA atoms.

    Fixed columns, as in the format of 1996: what a digest would cut across a gap is no peptide.
    """
    letter, stretch, last = dict(zip(_RESIDUES.split(), AMINO_ACIDS, strict=True)), "", ("", 0)
    for line in file.read_text().splitlines():
        if line.startswith("ENDMDL"):
            break
        if line[:6] != "ATOM  " or line[12:16] != " CA " or line[16] not in " A":
            continue
        chain, number = line[21], int(line[22:26])
        follows, known = chain == last[0] and number - last[1] in (0, 1), line[17:20] in letter
        if not (follows and known):
            yield stretch
            stretch = ""
        stretch += letter.get(line[17:20], "")
        last = (chain, number)
    yield stretch
