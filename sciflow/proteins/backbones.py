"""Backbones of proteins: learnt from a folder of structures, drawn at any length, or around a motif."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, require_above
from ..manifolds import SE3, Product, tree_map
from ..rng import step_generator
from ..study import Evaluation, Metric, read_meta
from ..training import Model, Samples, load_tensors, save_tensors, split_clusters
from .clusters import cluster
from .conformation import Backbones
from .figures import backbone_figures
from .files import write_structure, write_trajectory
from .frames import all_atoms, follows, psi
from .metrics import backbone_metrics
from .model import ProteinModel
from .motifs import MotifFile
from .residues import AMINO_ACIDS
from .selection import Filter, Structures
from .structure import Chain
from .tasks import check_tasks
from .tensors import ProteinDataset, as_chains, padded, tensors
from .tm import superpose

__all__ = ["BackboneStudy", "chains", "motif_metrics"]

_DRAWN = 2**20  # beyond all samples: streams of the study itself
_TASKS = ("backbone", "motif")


@dataclass
class Comparison:
    """How the report is made.

    Attributes:
        compared: samples whose shapes are compared, with each other and with all training chains.
    """

    compared: int = 50

    def __post_init__(self) -> None:
        require_above(1, "study.evaluation.", self, "compared")


@dataclass
class BackboneStudy:
    """Frames of residues, without types, of single chains.

    A single chain is its own train, validation and test split: what is then learnt, and measured, is that chain.

    Attributes:
        lengths: of the samples in turn; by default drawn from those of the training chains.
        tasks: how often training draws ``backbone`` and ``motif``.
        motif: what samples are built around.
        rectify: which samples ``sciflow rectify`` keeps.
    """

    data: Structures = field(default_factory=Structures)
    lengths: list[int] = field(default_factory=list)
    tasks: dict[str, float] = field(default_factory=lambda: {"backbone": 1.0, "motif": 0.0})
    motif: MotifFile = field(default_factory=MotifFile)
    rectify: Filter = field(default_factory=Filter)
    evaluation: Comparison = field(default_factory=Comparison)
    architecture: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_tasks(self.tasks)
        for task in self.tasks:
            if task not in _TASKS:
                raise InputError(f"study.tasks.{task}: a backbone has no side chains; use {', '.join(_TASKS)}")
        for length in self.lengths:
            if length < 4:
                raise InputError(f"study.lengths={self.lengths}: {length} residues are no protein; give 4 or more")
        if self.motif.pdb and not self.motif.guidance and not self.tasks.get("motif"):
            raise InputError(
                "study.motif: is held by models trained with tasks.motif=1; of others give motif.guidance=1"
            )

    def unlearnt(self, trained: Mapping[str, Any]) -> str:
        """What samples are to hold that training with the settings ``trained`` did not show the model, or nothing."""
        held = self.motif.pdb and not self.motif.guidance
        return "" if not held or trained.get("tasks", {}).get("motif") else "tasks.motif"

    @property
    def sources(self) -> tuple[str, ...]:
        return ("structures",) if self.data.path is None else ()

    @property
    def manifold(self) -> Product:
        """Translations [nm] and rotations of residues."""
        return SE3()

    def prepare(self, raw: Path | None, out: Path) -> None:
        motif = self.motif.read()  # a wrong one is refused before the training
        if motif and self.lengths:
            motif.check(min(self.lengths))
        found, left_out = self.data.read(raw)
        clusters = cluster([chain.sequence for chain in found])
        parts = {name: [0] for name in ("train", "val", "test")}
        if len(found) > 1:
            shares = {"test": self.data.held_out, "val": self.data.held_out}
            parts = split_clusters(clusters, shares, self.seed)
        for name, indices in parts.items():
            rows = tensors([found[i] for i in indices])
            x = {factor: rows["x"][factor] for factor in self.manifold.factors}
            kept = {key: rows[key] for key in ("mask", "chain")}
            save_tensors({"x": x, **kept, "residue_index": _counted(rows["mask"])}, out / f"{name}.safetensors")
        train = [found[i] for i in parts["train"]]
        if motif and not self.lengths:
            motif.check(min(map(len, train)))
        spread = torch.cat([ca - ca.mean(0) for ca in (chain.atoms[:, 1] for chain in train)])
        meta = {
            "units": {"length": "nm"},
            "chains": {name: [f"{found[i].name}_{found[i].id}" for i in part] for name, part in parts.items()},
            "clusters": {name: len({clusters[i] for i in part}) for name, part in parts.items()},
            "split": "by clusters of sequences" if len(found) > 1 else "one chain, in every split",
            **left_out,
            "scale": float(spread.square().mean().sqrt()),
            "lengths": sorted(len(chain) for chain in train),
        }
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def dataset(self, data: Path, split: str) -> ProteinDataset:
        return ProteinDataset(data / f"{split}.safetensors")

    def model(self, data: Path) -> Model:
        if self.architecture is None:
            raise InputError("model: none chosen; say model=frame_flow")
        model: Model = self.architecture.build(self.manifold, read_meta(data)["scale"], self.tasks)
        return model

    def conditions(self, data: Path, indices: Sequence[int], split: str = "test") -> dict[str, Any]:
        """Lengths of the samples of those numbers, and the motif in each of them, whatever the split."""
        known = self.lengths or read_meta(data)["lengths"]
        lengths = torch.tensor([self._length(known, i) for i in indices])
        mask = torch.arange(max(known)) < lengths[:, None]
        cond: dict[str, Any] = {
            "mask": mask,
            "residue_index": _counted(mask),
            "chain": torch.zeros_like(mask, dtype=torch.long),
        }
        motif = self.motif.read()
        if motif is None:
            return cond
        place = torch.zeros_like(mask)
        types = torch.full_like(cond["residue_index"], AMINO_ACIDS.index("G"))
        x = padded(
            {"translation": torch.zeros(*mask.shape, 3), "rotation": torch.zeros(*mask.shape, 4)},
            torch.zeros_like(mask),
        )
        for row, (i, length) in enumerate(zip(indices, lengths.tolist(), strict=True)):
            places = motif.place(length, step_generator(self.seed, _DRAWN + 1, i))
            place[row, places] = True
            x["translation"][row, places], x["rotation"][row, places] = motif.translation, motif.rotation
            types[row, places] = motif.aatype
        cond |= {"residue_type": types}  # for files alone
        if self.motif.guidance:
            return cond | {"x": x, "motif": place, "guidance": torch.full((len(mask),), self.motif.guidance)}
        return cond | {"x": x, "known_frames": place}

    def _length(self, known: Sequence[int], i: int) -> int:
        if self.lengths:
            return self.lengths[i % len(self.lengths)]
        return known[int(torch.randint(len(known), (1,), generator=step_generator(self.seed, _DRAWN, i)))]

    def write(self, samples: Samples, out: Path) -> None:
        """Each sample as PDB and mmCIF, of glycines but for a motif: a backbone has no types. And where motifs lie."""
        folder = out / "samples"
        folder.mkdir()
        found = chains(*_state(samples), (samples.cond or {}).get("residue_type"))
        for chain in found:
            for suffix in ("pdb", "cif"):
                write_structure([chain], folder / f"{chain.name}.{suffix}")
        place = _motif(samples)
        if place is not None:
            rows = [f"{chain.name},{_segments(there)}\n" for chain, there in zip(found, place, strict=True)]
            (out / "motifs.csv").write_text("sample,residues\n" + "".join(rows))

    def trajectory(self, model: Model, samples: Samples, out: Path) -> None:
        """The way of the first sample from noise, at the times in ``out`` if any, as the models of trajectory.pdb."""
        assert isinstance(model, ProteinModel)
        assert isinstance(samples.x0, dict)
        device = next(model.parameters()).device
        x0, cond = (
            {name: tree_map(lambda leaf: leaf[:1].to(device), value) for name, value in tree.items()}
            for tree in (samples.x0, samples.cond or {})
        )
        chosen = out / "grid.safetensors"
        grid = load_tensors(chosen)["t"] if chosen.is_file() else None
        states = model.trajectory(x0, cond, steps=samples.nfe, grid=grid)
        types = cond["residue_type"].cpu() if "residue_type" in cond else None
        of = cond["mask"].cpu(), cond["residue_index"].cpu(), types
        models = [chains({name: value.cpu() for name, value in x.items()}, *of) for x in states]
        write_trajectory(models, out / "trajectory.pdb")

    def keep(self, samples: Samples, data: Path) -> Tensor:
        """Which samples the model may be rectified on, ``(n,)``."""
        return self.rectify.keep(Backbones.of_state(*_state(samples)), _natives(data, "train"))

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        drawn, train, test = Backbones.of_state(*_state(samples)), _natives(data, "train"), _natives(data, "test")
        figures, captions = backbone_figures(drawn, train, test, _motif(samples))
        metrics = backbone_metrics(drawn, train, test, most=self.evaluation.compared, seed=self.seed)
        return Evaluation(metrics | motif_metrics(samples), figures, captions)


def chains(x: dict[str, Tensor], mask: Tensor, residue_index: Tensor, aatype: Tensor | None = None) -> list[Chain]:
    """Backbones of states: N, CA, C and O, of glycines where ``aatype`` is not given, numbered from 1.

    They are named by their place in the batch.
    """
    state = {name: value.double() for name, value in x.items()}
    chain = torch.zeros_like(residue_index)
    angles = psi(state["translation"], state["rotation"], follows(residue_index, chain, mask))
    glycines = torch.full_like(residue_index, AMINO_ACIDS.index("G"))
    aatype = glycines if aatype is None else aatype
    atoms, atom_mask = all_atoms(state | {"torsions": angles}, glycines, mask)
    found = []
    for i in range(len(mask)):
        of = {"mask": mask[i], "chain": chain[i], "residue_index": residue_index[i] + 1}
        found += as_chains(atoms[i], atom_mask[i], aatype[i], of, f"{i:05d}")
    return found


def motif_metrics(samples: Samples) -> dict[str, Metric]:
    """How far [nm] a guided motif in each sample is from the given one, superposed. One that is held is there."""
    x, cond = samples.x, samples.cond or {}
    if "motif" not in cond or not isinstance(x, dict):
        return {}
    _, rmsd = superpose(x["translation"].double(), cond["x"]["translation"].double(), cond["motif"])
    n = len(rmsd)
    error = float(rmsd.std()) / n**0.5 if n > 1 else None
    return {"motif_rmsd": Metric(float(rmsd.mean()), error, n, reference=0.0, unit="nm")}


def _natives(data: Path, split: str) -> Backbones:
    rows = load_tensors(data / f"{split}.safetensors")
    return Backbones.of_state(rows["x"], rows["mask"], rows["residue_index"])


def _state(samples: Samples) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    assert isinstance(samples.x, dict)
    assert samples.cond is not None
    return samples.x, samples.cond["mask"], samples.cond["residue_index"]


def _motif(samples: Samples) -> Tensor | None:
    """Where in each sample its motif is, held or guided, if there is one, ``(n, N)``."""
    cond = samples.cond or {}
    place: Tensor | None = cond.get("motif", cond.get("known_frames"))
    return place


def _segments(there: Tensor) -> str:
    """Residues by number, from 1: ``12-30/45``."""
    places = (there.nonzero()[:, 0] + 1).tolist()
    ends = [[k for k in places if k - 1 not in places], [k for k in places if k + 1 not in places]]
    return "/".join(f"{a}-{b}" if a < b else f"{a}" for a, b in zip(*ends, strict=True))


def _counted(mask: Tensor) -> Tensor:
    return torch.arange(mask.shape[1]).expand(mask.shape).clone()
