"""Families of sequences: learnt from a file of homologues, scored beside profiles, drawn anew."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, require_above, require_share
from ..study import Evaluation, Metric, finite, read_meta, require_prepared
from ..training import Model, Samples, TensorsDataset, load_tensors, save_tensors, split_clusters
from .alphabet import encode, letters
from .family_metrics import Sequences, family_figures, family_metrics
from .files import Family, read_families, write_fasta
from .identity import clusters, identities
from .shipped import ShippedFamily

__all__ = ["Comparison", "Homologues", "SequenceFamilyStudy"]


@dataclass
class Homologues:
    """Sequences to learn from.

    Attributes:
        path: FASTA, A2M, A3M or Stockholm of a family, or a folder of such files, one a family; none: the fetched data
            set ``rna_families``.
        test: sequences to be scored, in such a file, as the test split; none: whole clusters of the family.
        identity: sequences with more than this share of letters in common are of one cluster.
        held_out: share of a family in the validation split and, without ``test``, in the test split.
    """

    path: Path | None = None
    test: Path | None = None
    identity: float = 0.8
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require_share("study.data.", self, identity=1.0, held_out=0.4)


@dataclass
class Comparison:
    """How the report is made.

    Attributes:
        compared: samples, and held-out sequences, that are compared with all training sequences.
    """

    compared: int = 200

    def __post_init__(self) -> None:
        require_above(0, "study.evaluation.", self, "compared")


@dataclass
class SequenceFamilyStudy(ShippedFamily):
    """Proteins, DNA or RNA of common descent: which sequences belong to a family, and new ones that do."""

    data: Homologues = field(default_factory=Homologues)
    evaluation: Comparison = field(default_factory=Comparison)
    architecture: Any = None
    seed: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        return ("rna_families",) if self.data.path is None else ()

    def prepare(self, raw: Path | None, out: Path) -> None:
        families = read_families(self.data.path or self.shipped(raw))
        given = read_families(self.data.test) if self.data.test else []
        if given and len(given) + len(families) > 2:
            raise InputError(f"study.data.test={self.data.test}: scores one file beside one family; give one of each")
        for other in given:
            if unknown := set("".join(other.sequences)) - set("".join(s for f in families for s in f.sequences)):
                raise InputError(f"{self.data.test}: has the letter {min(unknown)}, which the family has not; mend it")
        width = 1 + max(len(s) for f in families + given for s in f.sequences)
        columns = max(len(f.aligned[0]) if f.aligned else 0 for f in families)
        rows: dict[str, list[dict[str, Tensor]]] = {"train": [], "val": [], "test": []}
        names: dict[str, list[str]] = {split: [] for split in rows}
        first = 0
        for number, family in enumerate(families):
            found = self._clusters(family)
            shares = {"val": self.data.held_out} if given else dict.fromkeys(("test", "val"), self.data.held_out)
            for split, indices in split_clusters(found, shares, self.seed).items():
                rows[split].append(_rows(family, number, [first + c for c in found], indices, width, columns))
                names[split] += [family.names[i] for i in indices]
            first += max(found) + 1
        for family in given:
            everyone = range(len(family.sequences))
            rows["test"].append(_rows(family, 0, [first + i for i in everyone], everyone, width, columns=0))
            names["test"] += family.names
        for split, parts in rows.items():
            kept = parts[0] if split == "train" else parts[0].keys() - {"aligned"}
            together = {name: torch.cat([part[name] for part in parts]) for name in kept}
            save_tensors(together, out / f"{split}.safetensors")
            write_fasta(names[split], letters(together["x"]), out / f"{split}.fasta")
        meta = {
            "families": {f.name: len(f.sequences) for f in families},
            "sequences": {split: len(names[split]) for split in rows},
            "clusters": {s: len({int(c) for part in rows[s] for c in part["cluster"]}) for s in rows},
            "aligned": all(f.aligned for f in families),
            "left out": {f.name: dict(f.dropped) for f in families + given},
        }
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def _clusters(self, family: Family) -> list[int]:
        """Of sequences that chains of near ones join."""
        x = encode(family.sequences, max(map(len, family.sequences)))
        return clusters(identities(x, x) > self.data.identity, family.path)

    def dataset(self, data: Path, split: str) -> TensorsDataset:
        rows = load_tensors(data / f"{split}.safetensors")
        return TensorsDataset({name: rows[name] for name in ("x", "family", "cluster")}, f"{data}/{split}")

    def model(self, data: Path) -> Model:
        require_prepared(self, data, "family", "data")
        if self.architecture is None:
            raise InputError("model: none chosen; say model=family_transformer")
        model: Model = self.architecture.build(load_tensors(data / "train.safetensors"))
        return model

    def conditions(self, data: Path, indices: Sequence[int], split: str = "test") -> dict[str, Tensor]:
        """Families in turn, whatever the split."""
        families = read_meta(data)["families"]
        return {"family": torch.tensor([i % len(families) for i in indices])}

    def write(self, samples: Samples, out: Path, data: Path) -> None:
        """``samples.fasta``, with the family of each.

        With ``sampler.likelihood``, ``scores.csv`` of the rows of the data's ``test.fasta``.
        """
        assert isinstance(samples.x, Tensor)
        families = (samples.cond or {}).get("family", torch.zeros(len(samples.x), dtype=torch.long)).tolist()
        known = [name.replace(" ", "_") for name in read_meta(data)["families"]]
        names = [f"{i:05d} family={known[f]}" for i, f in enumerate(families)]
        write_fasta(names, letters(samples.x), out / "samples.fasta")
        if samples.test_logp is not None:
            scores = "".join(f"{i},{score:.4f}\n" for i, score in enumerate(samples.test_logp.tolist()))
            (out / "scores.csv").write_text(f"number_in_test_fasta,log_likelihood_nats\n{scores}")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        require_prepared(self, data, "family", "data")
        assert isinstance(samples.x, Tensor)
        train, val, test = (load_tensors(data / f"{split}.safetensors") for split in ("train", "val", "test"))
        meta = read_meta(data)
        family = (samples.cond or {}).get("family", torch.zeros(len(samples.x), dtype=torch.long))
        sequences = Sequences(samples.x, family, train, val, test, samples.test_logp, meta["aligned"])
        nearest = {
            name: identities(rows[: self.evaluation.compared], train["x"]).max(1)
            for name, rows in (("samples", samples.x), ("held out", test["x"]))
        }
        metrics: dict[str, Metric] = finite(family_metrics(sequences, nearest))
        return Evaluation(metrics, *family_figures(sequences, nearest))


def _rows(
    family: Family, number: int, clusters: Sequence[int], indices: Sequence[int], width: int, columns: int
) -> dict[str, Tensor]:
    """Tensors of the sequences ``indices`` of a family, with its number and those of their clusters."""
    aligned = [family.aligned[i] if family.aligned else "" for i in indices]
    return {
        "x": encode([family.sequences[i] for i in indices], width),
        "family": torch.full((len(indices),), number),
        "cluster": torch.tensor([clusters[i] for i in indices]),
        "aligned": encode(aligned, columns),
    }
