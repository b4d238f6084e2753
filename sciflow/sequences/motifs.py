"""Synthetic DNA with planted motifs: what a model designs is judged by the law that made its data."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..alphabets import DNA
from ..errors import InputError, require_above
from ..rng import step_generator
from ..study import Evaluation, Metric, finite, read_meta, require_prepared
from ..training import Model, Samples, TensorsDataset, load_tensors, save_tensors
from .alphabet import Alphabet
from .files import write_fasta
from .identity import hamming
from .motif_files import find_motif, read_motifs
from .motif_grammar import Block, MotifGrammar
from .motif_metrics import MotifJudge

__all__ = ["MotifStudy", "gc_oracle"]

_JASPAR = Path("jaspar") / "JASPAR2024_CORE_vertebrates_non-redundant_pfms_transfac.txt"
_HELD_OUT = 1000  # sequences of the validation and of the test split each
_PSEUDOCOUNT = 1.0
_GC_WIDTH = 0.05  # of the oracle that asks for a share of G and C
_CLASSES = ["MA0139.2", "MA0106.3", "MA0083.3", "MA0506.3", "MA0143.5+6+MA1115.2"]  # CTCF, TP53, SRF, NRF1, SOX2+POU5F1


@dataclass
class Planted:
    """What the sequences are made of.

    Attributes:
        path: frequency matrices of your own (TRANSFAC, JASPAR, MEME); none: the fetched data set ``jaspar``.
        classes: a motif each, by accession or name, or two of them with the letters between: ``SOX2+6+POU5F1``.
        length: letters of a sequence.
        gc: share of G and C in the background.
        rows: training sequences.
    """

    path: Path | None = None
    classes: list[str] = field(default_factory=lambda: list(_CLASSES))
    length: int = 64
    gc: float = 0.4
    rows: int = 8000

    def __post_init__(self) -> None:
        require_above(0, "study.data.", self, "length", "rows")
        _require_share("study.data.gc", self.gc)
        if not self.classes:
            raise InputError("study.data.classes=[]: name a motif or more")


@dataclass
class Steer:
    """What samples are steered to by ``sampler.guidance``, without training; nothing: to their class.

    Attributes:
        gc: share of G and C in a sequence, by the oracle ``−½ ((share − gc)/0.05)²``.
    """

    gc: float | None = None

    def __post_init__(self) -> None:
        if self.gc is not None:
            _require_share("study.steer.gc", self.gc)


@dataclass
class Judged:
    """How the report is made.

    Attributes:
        false_positives: share of background sequences in which a motif that is not there is found.
        compared: samples, and held-out sequences, that are compared with all training sequences.
    """

    false_positives: float = 0.01
    compared: int = 200

    def __post_init__(self) -> None:
        _require_share("study.evaluation.false_positives", self.false_positives)
        require_above(0, "study.evaluation.", self, "compared")


@dataclass
class MotifStudy:
    """Synthetic regulatory DNA: background letters with one motif, or two at a distance, and a class that says which.

    The motifs are real (JASPAR 2024, Rauluseviciute et al.), the sequences are not: their law is known
    (:class:`MotifGrammar`), and so are likelihoods, classes and hits of what a model draws.
    """

    data: Planted = field(default_factory=Planted)
    steer: Steer = field(default_factory=Steer)
    evaluation: Judged = field(default_factory=Judged)
    architecture: Any = None
    seed: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        return ("jaspar",) if self.data.path is None else ()

    def prepare(self, raw: Path | None, out: Path) -> None:
        path = self.data.path or (raw or Path("data/raw")) / _JASPAR
        motifs, gc = read_motifs(path), self.data.gc / 2
        background = torch.tensor([0.5 - gc, gc, gc, 0.5 - gc], dtype=torch.float64)
        blocks = [_block(name, background, lambda name: find_motif(motifs, name, path)) for name in self.data.classes]
        for block in blocks:
            if len(block.columns) > self.data.length:
                has = f"{block.name} has {len(block.columns)} places"
                raise InputError(f"study.data.length={self.data.length}: {has}; raise it")
        grammar = MotifGrammar(background, tuple(blocks), self.data.length)
        for i, (split, n) in enumerate({"train": self.data.rows, "val": _HELD_OUT, "test": _HELD_OUT}.items()):
            label = torch.arange(n) % len(blocks)
            x = grammar.sample(label, step_generator(self.seed, i))
            save_tensors({"x": x, "label": label}, out / f"{split}.safetensors")
        columns = {str(c): block.columns for c, block in enumerate(blocks)}
        save_tensors({"background": background, "columns": columns}, out / "grammar.safetensors")
        meta = {
            "synthetic": f"planted motifs of {path.name} in random letters",
            "classes": [block.name for block in blocks],
            "length": self.data.length,
            "parts": [block.parts for block in blocks],
            "sequences": {"train": self.data.rows, "val": _HELD_OUT, "test": _HELD_OUT},
        }
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def grammar(self, data: Path) -> MotifGrammar:
        """The law of prepared data."""
        meta, tensors = read_meta(data), load_tensors(data / "grammar.safetensors")
        known = enumerate(zip(meta["classes"], meta["parts"], strict=True))
        blocks = [Block(name, tensors["columns"][str(c)], tuple(map(tuple, parts))) for c, (name, parts) in known]
        return MotifGrammar(tensors["background"], tuple(blocks), meta["length"])

    def dataset(self, data: Path, split: str) -> TensorsDataset:
        return TensorsDataset(load_tensors(data / f"{split}.safetensors"), f"{data}/{split}")

    def model(self, data: Path) -> Model:
        require_prepared(self, data, "data")
        if self.architecture is None:
            raise InputError("model: none chosen; say model=posterior_flow")
        grammar = self.grammar(data)
        model: Any = self.architecture.build(len(DNA), grammar.length, classes=len(grammar.blocks))
        if self.steer.gc is not None:
            model.guide = gc_oracle(self.steer.gc)
        built: Model = model
        return built

    def conditions(self, data: Path, indices: Sequence[int], split: str = "test") -> dict[str, Tensor]:
        """Classes in turn, whatever the split."""
        return {"label": torch.tensor(list(indices)) % len(read_meta(data)["classes"])}

    def write(self, samples: Samples, out: Path, data: Path) -> None:
        """``samples.fasta``, with the class of each."""
        assert isinstance(samples.x, Tensor)
        classes = read_meta(data)["classes"]
        label = (samples.cond or {})["label"].tolist()
        names = [f"{i:05d} class={classes[c].replace(' ', '_')} synthetic" for i, c in enumerate(label)]
        write_fasta(names, Alphabet(DNA).decode(samples.x), out / "samples.fasta")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        require_prepared(self, data, "data")
        assert isinstance(samples.x, Tensor)
        x, label, judge = (
            samples.x,
            (samples.cond or {})["label"],
            MotifJudge(self.grammar(data), self.evaluation.false_positives),
        )
        train, test = (load_tensors(data / f"{split}.safetensors") for split in ("train", "test"))
        few = self.evaluation.compared
        away, fresh = (hamming(rows[:few], train["x"]) for rows in (x, test["x"]))
        metrics = judge.metrics(x, label, test["x"], test["label"])
        if self.steer.gc is not None:
            unsteered = metrics["gc_content"].reference
            metrics["gc_content"].floor, metrics["gc_content"].reference = unsteered, self.steer.gc
        metrics["nearest_train"] = Metric(
            float(away.mean()), n=len(away), reference=float(fresh.mean()), unit=f"of {x.shape[1]} letters differ"
        )
        metrics["copies"] = Metric(float((away == 0).double().mean()), n=len(away), reference=0.0)
        if samples.test_logp is not None:
            metrics["divergence"] = judge.divergence(test["x"], test["label"], samples.test_logp)
        drawn = {
            "hits": judge.hit_figure(x, label, test["x"], test["label"]),
            "logos": judge.logo_figure(x, label),
        }
        figures = {name: figure for name, (figure, _) in drawn.items()}
        return Evaluation(finite(metrics), figures, {name: caption for name, (_, caption) in drawn.items()})


def gc_oracle(target: float) -> Callable[[Tensor], Tensor]:
    """``log p(y | x) = −½ ((share of G and C − target)/0.05)²`` ``(rows,)`` of letters ``(rows, L, 4)``."""

    def log_prob(x: Tensor) -> Tensor:
        share = x[..., [DNA.index("C"), DNA.index("G")]].sum(-1).mean(-1)
        return -0.5 * ((share - target) / _GC_WIDTH).square()

    return log_prob


def _block(text: str, background: Tensor, find: Callable[[str], Any]) -> Block:
    """A class as the user writes it: a motif, or two and the letters between."""
    first, *rest = text.split("+")
    if rest and (len(rest) != 2 or not rest[0].isdecimal()):
        raise InputError(f"study.data.classes: {text!r}: write MOTIF, or MOTIF+LETTERS+MOTIF such as SOX2+6+POU5F1")
    motifs = [find(name) for name in (first, *rest[1:])]
    columns = [motif.probabilities(_PSEUDOCOUNT) for motif in motifs]
    if not rest:
        return Block(motifs[0].name, columns[0], ((0, len(columns[0])),))
    between, start = background.expand(int(rest[0]), -1), len(columns[0]) + int(rest[0])
    name = f"{motifs[0].name}+{rest[0]}+{motifs[1].name}"
    return Block(name, torch.cat([columns[0], between, columns[1]]), ((0, len(columns[0])), (start, len(columns[1]))))


def _require_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"{name}={value} must lie between 0 and 1")
