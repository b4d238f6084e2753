"""Peptides in the pockets of receptors: backbone, sequence and side chains together, or any given the others."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, require_above
from ..manifolds import SO3, Euclidean, FlatTorus, Product, Simplex
from ..rng import step_generator
from ..study import Evaluation, read_meta
from ..training import Model, Samples, load_tensors, save_tensors, split_clusters
from .clusters import SHARED, shared_words
from .collection import read_structures
from .complexes import FEWEST, SHORTEST, Pocket, Residues, bound, families, pieces, read_complexes
from .files import write_fasta, write_structure
from .frames import follows
from .peptide_figures import figures
from .peptide_metrics import Bound, Hidden, Library, built, peptide_metrics, rotamers
from .residues import UNKNOWN
from .sources import hold
from .structure import Chain
from .tasks import TASKS, check_tasks, known
from .tensors import ProteinDataset, as_chains, padded, stacked

__all__ = ["PocketStudy"]

COMPLEX_TASKS = ("codesign", "fixbb", "packing", "docking")


@dataclass
class PocketStudy:
    """Peptides of 5 to 25 residues in pockets that are given.

    The pocket is chosen by the bound peptide, so it tells roughly where one may lie, which is the usual setting; the
    coordinates are those of the pocket's centre, and nothing else of what is hidden enters.

    Args:
        task: what is sampled and judged: ``codesign`` (all of the peptide), ``fixbb`` (sequence and side chains on
            its backbone), ``packing`` (side chains alone), ``docking`` (all but its sequence).
        tasks: how often training draws each.
        path: complexes of your own, see ``read_complexes``; by default the fetched data set ``pepset``.
        peptide_chain: the chain that is the peptide, where a file holds a whole complex.
        pieces: stretches of training receptors that training takes for peptides as well, four for each time that it
            sees a true one; none with 0.
        structures: pieces are of the data set ``structures`` too, of chains that are unlike all held-out receptors.
        held_out: share of the complexes in the test split, by families of complexes, whose receptors or
            peptides are alike; validation has half as many.
    """

    task: str = "codesign"
    tasks: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COMPLEX_TASKS, 1.0))
    path: Path | None = None
    peptide_chain: str = ""
    pocket: Pocket = field(default_factory=Pocket)
    pieces: int = 6000
    structures: bool = False
    held_out: float = 0.2
    architecture: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_tasks(self.tasks)
        require_above(0, "study.pocket.", self.pocket, "radius")
        require_above(FEWEST - 1, "study.pocket.", self.pocket, "most")
        require_above(SHORTEST - 1, "study.pocket.", self.pocket, "longest")
        require_above(-1, "study.", self, "pieces")
        if not 0 < self.held_out < 0.5:
            raise InputError(f"study.held_out={self.held_out} must be above 0 and below 0.5")
        for name in (self.task, *self.tasks):
            if name not in COMPLEX_TASKS:
                raise InputError(f"study.task={name}: a peptide has {', '.join(COMPLEX_TASKS)}")

    def unlearnt(self, trained: Mapping[str, Any]) -> str:
        """The task of the samples, where training with the settings ``trained`` did not show it to the model."""
        return "" if trained.get("tasks", {}).get(self.task) else f"tasks.{self.task}"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*(("pepset",) if self.path is None else ()), *(("structures",) if self.structures else ()))

    @property
    def manifold(self) -> Product:
        """Translations [nm], rotations, ψ and χ, and probabilities of amino acids, of every residue."""
        return Product(translation=Euclidean(3), rotation=SO3(), torsions=FlatTorus(5), sequence=Simplex(20))

    def prepare(self, raw: Path | None, out: Path) -> None:
        path = self.path or (raw or Path("data/raw")) / "pepset" / "bound"
        complexes, dropped = read_complexes(path, self.pocket, self.peptide_chain)
        clusters = families(complexes)
        parts = split_clusters(clusters, {"test": self.held_out, "val": self.held_out / 2}, self.seed)
        splits = {name: [complexes[i] for i in part] for name, part in parts.items()}
        rows = {name: [bound(one, self.pocket) for one in part] for name, part in splits.items()}
        hidden = [one.sequence for name in ("test", "val") for one in splits[name]]
        surfaces = {i: complexes[i].receptor for i in parts["train"]} | self._unlike(hidden, raw, len(complexes))
        each = -(-self.pieces // len(surfaces))
        extra = [
            piece
            for i, chains in surfaces.items()
            for piece in pieces(chains, self.pocket, each, step_generator(self.seed, 1, i))
        ]
        repeats = max(1, round(len(extra) / (4 * len(rows["train"]))))
        for name, part in (rows | {"train": rows["train"] * repeats + extra}).items():
            save_tensors(stacked(part), out / f"{name}.safetensors")
        peptides = [_part(row, False) for row in rows["train"]]
        types = torch.cat([p["aatype"] for p in peptides])
        receptors = [_part(bound(one, Pocket(math.inf, 10**6)), True) for one in splits["train"]]
        of = (torch.cat([r[name] for r in receptors]) for name in ("aatype", "torsions", "torsion_mask"))
        meta = {
            "units": {"length": "nm", "angle": "rad"},
            "complexes": {name: [one.name for one in part] for name, part in splits.items()},
            "chains": {one.name: [one.peptide.id, *(c.id for c in one.receptor)] for one in complexes},
            "families": len(set(clusters)),
            "pieces": len(extra),
            "pieces_from": len(surfaces),
            "dropped": dropped,
            "scale": float(torch.cat([p["translation"] for p in peptides]).square().mean().sqrt()),
            "frequencies": (torch.bincount(types, minlength=20) / len(types)).tolist(),
            "rotamers": rotamers(*of).tolist(),
        }
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def _unlike(self, hidden: Sequence[str], raw: Path | None, first: int) -> dict[int, list[Chain]]:
        """Chains of ``structures`` that share less with held-out receptors than a cluster does, from ``first`` on."""
        if not self.structures:
            return {}
        found, *_ = read_structures((raw or Path("data/raw")) / "structures")
        unique = list({chain.sequence: chain for chain in found if len(chain) > 2 * self.pocket.longest}.values())
        alike = (shared_words([chain.sequence for chain in unique], hidden) > SHARED).any(1)
        return {first + i: [chain] for i, chain in enumerate(unique) if not alike[i]}

    def dataset(self, data: Path, split: str) -> ProteinDataset:
        return ProteinDataset(data / f"{split}.safetensors")

    def model(self, data: Path) -> Model:
        if self.architecture is None:
            raise InputError("model: none chosen; say model=frame_flow")
        model: Model = self.architecture.build(self.manifold, read_meta(data)["scale"], self.tasks)
        return model

    def conditions(self, data: Path, indices: Sequence[int], split: str = "test") -> dict[str, Any]:
        """What is given of the complexes of those samples: sample i is of complex i mod M of the split."""
        whole = load_tensors(data / f"{split}.safetensors")
        rows = torch.tensor(indices) % len(whole["mask"])
        names = ("mask", "residue_index", "chain", "context", "torsion_mask", "origin", "author")  # two for files alone
        given = {name: whole[name][rows] for name in names}
        masks = known([self.task] * len(rows), given["mask"] & ~given["context"], given["context"])
        given["torsion_mask"] = given["torsion_mask"] | ~given["context"][..., None]  # of what is hidden it is not said
        state = {name: value[rows] for name, value in whole["x"].items()}
        return given | masks | {"x": hold(padded(state, torch.zeros_like(given["mask"])), state, masks)}

    def write(self, samples: Samples, out: Path, data: Path) -> None:
        """Each peptide (chain A) in its pocket as sample_0000.pdb and .cif, …; the peptides' sequences in FASTA.

        Coordinates and numbers of residues are those of the files of receptor and peptide; titles name the complex.
        """
        assert isinstance(samples.x, dict)
        assert samples.cond is not None
        types, atoms, atom_mask = _structures(samples.x, samples.cond)
        atoms = torch.where(atom_mask[..., None], atoms + samples.cond["origin"][..., None, :], 0.0)
        names = read_meta(data)["complexes"]["test"]
        titles = [names[i % len(names)] for i in range(len(types))]
        peptides = []
        for i, parts in enumerate(zip(atoms, atom_mask, types, strict=True)):
            of = {name: samples.cond[name][i] for name in ("mask", "chain", "author")}
            chains = as_chains(*parts, of, f"sample_{i:04d}")
            for suffix in (".pdb", ".cif"):
                write_structure(chains, out / f"sample_{i:04d}{suffix}", titles[i])
            peptides.append(chains[0])
        write_fasta(peptides, out / "peptides.fasta", titles)

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        test, meta = load_tensors(data / "test.safetensors"), read_meta(data)
        assert isinstance(samples.x, dict)
        natives, drawn = _bound(test["x"], test), _bound(samples.x, test)
        library = Library(torch.tensor(meta["rotamers"]), torch.tensor(meta["frequencies"]))
        given = TASKS[self.task]
        hidden = Hidden(*(part not in given for part in ("frames", "torsions", "sequence")))
        drawings = figures(drawn, natives, hidden, library, meta["complexes"]["test"], self.seed)
        return Evaluation(
            peptide_metrics(drawn, natives, hidden, library, self.seed),
            {name: figure for name, (figure, _) in drawings.items()},
            {name: caption for name, (_, caption) in drawings.items()},
        )


def _part(row: Residues, context: bool) -> Residues:
    """Of a complex the pocket, or the peptide."""
    return {key: value[row["context"] == context] for key, value in row.items()}


def _structures(x: dict[str, Tensor], of: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Types (B, N), heavy atoms (B, N, 14, 3) and which of them there are (B, N, 14)."""
    share, types = x["sequence"].max(-1)
    types = torch.where(of["context"] & (share < 0.5), UNKNOWN, types)  # of the pocket types are certain, or X
    state = {name: value.double() for name, value in x.items()}
    joined = follows(of["residue_index"], of["chain"], of["mask"])
    return types, *built(state, types, of["mask"], joined)


def _bound(x: dict[str, Tensor], of: dict[str, Any]) -> list[Bound]:
    """Each sample with the pocket that it belongs to."""
    rows = torch.arange(len(x["translation"])) % len(of["mask"])
    given = {name: value[rows] for name, value in of.items() if name != "x"}
    types, atoms, atom_mask = _structures(x, given)
    parts = {
        "aatype": types,
        "atoms": atoms,
        "atom_mask": atom_mask,
        "torsions": x["torsions"].double(),
        "torsion_mask": given["torsion_mask"],
        "residue_index": given["residue_index"],
        "peptide": ~given["context"],
    }
    return [Bound(**{name: part[i][mask] for name, part in parts.items()}) for i, mask in enumerate(given["mask"])]
