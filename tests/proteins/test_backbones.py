"""A study of backbones from files to report, and what it says of bad input."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from sciflow.errors import InputError
from sciflow.pipeline import evaluate, load_config, prepare, sample, train
from sciflow.proteins.backbones import BackboneStudy, motif_metrics
from sciflow.proteins.conformation import Backbones, random_walk
from sciflow.proteins.files import write_structure
from sciflow.proteins.motifs import MotifFile
from sciflow.proteins.selection import Filter
from sciflow.proteins.structure import Chain, read_structure
from sciflow.proteins.tensors import tensors
from sciflow.rng import step_generator
from sciflow.training import Samples, load_tensors, save_tensors

Build = Callable[..., Chain]
TINY = [
    "model.width=8",
    "model.pair_width=4",
    "model.depth=1",
    "model.heads=1",
    "trainer.steps=3",
    "trainer.batch_size=32",
    "sampler.steps=2",
    "n=3",
    "data.shortest=8",
    "data.longest=16",
]
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def words(k: int, length: int) -> str:
    """Sequences that have no three letters in common."""
    return "".join(LETTERS[(k + (2 * k + 1) * i) % 20] for i in range(length))


@pytest.fixture
def folder(tmp_path: Path, build: Build) -> Path:
    """Eight chains of 8 to 15 residues, one a file; one more is too short, and one a copy."""
    path = tmp_path / "mine"
    path.mkdir()
    for k in range(8):
        chain = build(words(k, 8 + k), phi=-60 - 5 * k)
        write_structure([chain], path / f"p{k}.{'pdb' if k % 2 else 'cif'}")
    write_structure([build("ACDE")], path / "short.pdb")
    write_structure([build(words(3, 11))], path / "zcopy.pdb")
    return path


def test_from_files_to_report(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config("backbones", [*TINY, f"data.path={folder}", "lengths=[9,12]", "study.data.held_out=0.2"])
    prepare(config, tmp_path / "data")
    meta = json.loads((tmp_path / "data" / "meta.json").read_text())
    assert "8 of 10 chains are kept (1 shorter than 8 residues, 1 of the same sequence" in capsys.readouterr().err
    assert meta["files not read"] == []
    assert meta["chains dropped"] == {"shorter than 8 residues": 1, "of the same sequence as another": 1}
    named = [set(chains) for chains in meta["chains"].values()]
    assert set.union(*named) == {f"p{k}_A" for k in range(8)}
    assert sum(map(len, named)) == 8
    train(config, tmp_path / "data", tmp_path / "model")
    drawn = sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    files = sorted(file.name for file in (tmp_path / "samples" / "samples").iterdir())
    assert files == [f"{i:05d}.{suffix}" for i in range(3) for suffix in ("cif", "pdb")]
    assert isinstance(drawn.x, dict)
    for i, length in enumerate([9, 12, 9]):
        for suffix in ("pdb", "cif"):
            chains, _ = read_structure(tmp_path / "samples" / "samples" / f"{i:05d}.{suffix}")
            assert [len(chain) for chain in chains] == [length]
            found = chains[0].atoms[:, 1].float()
            assert torch.allclose(found, drawn.x["translation"][i, :length], atol=1e-4)  # PDB has 0.001 Å
    way = (tmp_path / "samples" / "trajectory.pdb").read_text()
    assert way.count("MODEL  ") == 3  # the source and two steps
    metrics = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path).metrics
    assert {"ca_ca", "c_n", "clashes", "helix", "max_tm_to_train"} <= set(metrics)


def test_one_chain_is_every_split(tmp_path: Path, folder: Path) -> None:
    config = load_config("backbones", [*TINY, f"data.path={folder / 'p7.pdb'}"])
    prepare(config, tmp_path / "data")
    splits = [config.study.dataset(tmp_path / "data", name)[0]["x"]["translation"] for name in ("train", "val", "test")]
    assert torch.equal(splits[0], splits[1])
    assert torch.equal(splits[0], splits[2])
    assert config.study.conditions(tmp_path / "data", range(4))["mask"].sum(1).tolist() == [15] * 4  # type: ignore[attr-defined]


def test_a_sample_has_the_same_conditions_in_any_range(tmp_path: Path, folder: Path) -> None:
    motif = ["study.motif.pdb=" + str(folder / "p7.pdb"), "study.motif.residues=A2-4/1-3/A8-9"]
    config = load_config("backbones", [*TINY, f"data.path={folder}", *motif, "lengths=[12,16,14]", "tasks.motif=1"])
    prepare(config, tmp_path / "data")
    whole, part = (config.study.conditions(tmp_path / "data", r) for r in (range(9), range(4, 7)))  # type: ignore[attr-defined]
    for name in ("mask", "known_frames"):
        assert torch.equal(whole[name][4:7], part[name])
    assert torch.equal(whole["x"]["rotation"][4:7], part["x"]["rotation"])


def test_a_scaffold_holds_its_motif(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    motif = ["study.motif.pdb=" + str(folder / "p7.pdb"), "study.motif.residues=A2-4/1-3/A8-9"]
    config = load_config("backbones", [*TINY, f"data.path={folder}", *motif, "lengths=[12]", "tasks.motif=1"])
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    drawn = sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    native = read_structure(folder / "p7.pdb")[0][0].atoms[:, 1].float()[[1, 2, 3, 7, 8]]
    assert isinstance(drawn.x, dict)
    assert drawn.cond is not None
    for x, place in zip(drawn.x["translation"], drawn.cond["known_frames"], strict=True):
        assert torch.equal(x[place], native)
    assert not motif_metrics(drawn)  # it is there: nothing to report
    rows = (tmp_path / "samples" / "motifs.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    native = read_structure(folder / "p7.pdb")[0][0]
    for (name, residues), place in zip((row.split(",") for row in rows[1:]), drawn.cond["known_frames"], strict=True):
        (chain,), _ = read_structure(tmp_path / "samples" / "samples" / f"{name}.pdb")
        spans = [[int(n) for n in part.split("-")] for part in residues.split("/")]
        numbers = [n for span in spans for n in range(span[0], span[-1] + 1)]
        assert numbers == chain.residue_index[place[: len(chain)]].tolist()
        letters = "".join(native.sequence[i] for i in (1, 2, 3, 7, 8))
        assert "".join(chain.sequence[n - 1] for n in numbers) == letters
        assert set(chain.sequence) == {"G", *letters}
    assert "trained with" not in capsys.readouterr().err
    plain = load_config("backbones", [*TINY, f"data.path={folder}", "lengths=[12]"])
    train(plain, tmp_path / "data", tmp_path / "plain")
    sample(config, tmp_path / "data", tmp_path / "plain", tmp_path / "unlearnt")
    assert "plain was trained with study.tasks.motif=0: nothing promises" in capsys.readouterr().err
    guided = {"motif": drawn.cond["known_frames"], "x": drawn.cond["x"]}
    assert motif_metrics(drawn._replace(cond=guided))["motif_rmsd"].value < 1e-4


def test_a_wrong_motif_is_refused_before_training(tmp_path: Path, folder: Path) -> None:
    motif = ["study.motif.pdb=" + str(folder / "p7.pdb"), "study.motif.residues=B2-4", "motif.guidance=1"]
    config = load_config("backbones", [*TINY, f"data.path={folder}", *motif])
    with pytest.raises(InputError, match="no chain B"):
        prepare(config, tmp_path / "data")


def test_a_trajectory_has_the_times_of_its_sample(tmp_path: Path, folder: Path) -> None:
    """Of an optimal grid: the last model is the sample, as written."""
    config = load_config(
        "backbones", [*TINY, f"data.path={folder}", "lengths=[12]", "sampler.grid=optimal", "sampler.steps=4"]
    )
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    weights = load_tensors(tmp_path / "model" / "model.safetensors")
    for k, name in enumerate(sorted(weights)):  # a field that is not nearly at rest
        weights[name] = weights[name] + 0.3 * torch.randn(weights[name].shape, generator=step_generator(0, k))
    save_tensors(weights, tmp_path / "model" / "model.safetensors")
    sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    times = load_tensors(tmp_path / "samples" / "grid.safetensors")["t"]
    assert float(times.diff().std()) > 0.01

    def atoms(text: str) -> torch.Tensor:
        lines = (line for line in text.splitlines() if line.startswith("ATOM"))
        return torch.tensor([[float(line[i : i + 8]) for i in (30, 38, 46)] for line in lines])

    way = (tmp_path / "samples" / "trajectory.pdb").read_text().split("MODEL  ")
    drawn = (tmp_path / "samples" / "samples" / "00000.pdb").read_text()
    assert len(way) == 1 + 5
    assert torch.allclose(atoms(way[-1]), atoms(drawn), rtol=0, atol=5e-3)  # Å: float32, printed to 0.001


def test_the_scale_is_that_of_training_chains(tmp_path: Path, folder: Path) -> None:
    config = load_config("backbones", [*TINY, f"data.path={folder}", "study.data.held_out=0.2"])
    prepare(config, tmp_path / "data")

    def scale(split: str) -> float:
        rows = load_tensors(tmp_path / "data" / f"{split}.safetensors")
        traces = [ca[real].double() for ca, real in zip(rows["x"]["translation"], rows["mask"], strict=True)]
        return float(torch.cat([ca - ca.mean(0) for ca in traces]).square().mean().sqrt())

    found = json.loads((tmp_path / "data" / "meta.json").read_text())["scale"]
    assert found == pytest.approx(scale("train"), rel=1e-5)
    assert all(found != pytest.approx(scale(split), rel=1e-3) for split in ("val", "test"))


def test_motifs_lie_where_they_are_said_to(tmp_path: Path, build: Build) -> None:
    write_structure([build(words(0, 20), id="A"), build(words(1, 20), id="B")], tmp_path / "two.pdb")
    motif = MotifFile(tmp_path / "two.pdb", "A3-5/A9/2-4/B1-4").read()
    assert motif is not None
    gaps = set()
    for i in range(200):
        places = motif.place(25, step_generator(0, i)).tolist()
        assert [b - a for a, b in pairwise(places[:4])] == [1, 1, 4]  # 3, 4, 5 and 9
        gaps.add(places[4] - places[3] - 1)
        assert places[4:] == list(range(places[4], places[4] + 4))
        assert places[0] >= 0
        assert places[-1] < 25
    assert gaps == {2, 3, 4}


@pytest.mark.parametrize(
    ("residues", "said"),
    [
        ("A3-5/B1-4", "say how many residues lie before B1-4"),
        ("C1-4", "no chain C; it has A, B"),
        ("A18-24", "chain A has 3 of the residues 18 to 24; it goes from 1 to 20"),
        ("A9-3", "'A9-3' is no segment; write A12-30"),
        ("A3-5/8", "ends with a number"),
        ("5/A3-5", "'5' is no segment"),
        ("A3-5/9-2/B1-4", "9-2 holds no number"),
    ],
)
def test_bad_motifs_are_one_line(tmp_path: Path, build: Build, residues: str, said: str) -> None:
    write_structure([build(words(0, 20), id="A"), build(words(1, 20), id="B")], tmp_path / "two.pdb")
    with pytest.raises(InputError, match=said) as error:
        MotifFile(tmp_path / "two.pdb", residues).read()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.longest=5"], "less than study.data.shortest"),
        (["lengths=[2]"], "2 residues are no protein"),
        (["tasks.packing=1"], "a backbone has no side chains"),
        (["tasks.motif=-1"], "must be 0 or more"),
        (["study.data.held_out=0.7"], "held_out=0.7"),
        (["motif.residues=A1-3"], "pdb and residues belong together"),
        (["study.motif.guidance=-1"], "must be 0 or more"),
        (["motif.pdb=a.pdb", "motif.residues=A1-3"], "trained with tasks.motif=1"),
        (["model.width=10", "model.heads=4"], "must divide"),
        (["model.loss.rotation=-1"], "model.loss.rotation=-1"),
    ],
)
def test_bad_settings_are_one_line(settings: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        load_config("backbones", [*TINY, *settings])
    assert "\n" not in str(error.value)


def test_files_that_hold_nothing_of_use(tmp_path: Path, folder: Path) -> None:
    config = load_config("backbones", [*TINY, f"data.path={folder / 'short.pdb'}"])
    said = r"no chain is left \(1 shorter than 8 residues\); chains have 4 to 4 residues: mend study\.data\.shortest=8"
    with pytest.raises(InputError, match=said):
        prepare(config, tmp_path / "data")
    config = load_config("backbones", [*TINY, f"data.path={folder}", "data.chain=Z"])
    with pytest.raises(InputError, match=r"study\.data\.chain=Z is none of A"):
        prepare(config, tmp_path / "data")


def test_a_motif_that_does_not_fit(tmp_path: Path, folder: Path) -> None:
    motif = ["study.motif.pdb=" + str(folder / "p7.pdb"), "study.motif.residues=A1-12"]
    config = load_config("backbones", [*TINY, f"data.path={folder}", *motif, "lengths=[9]", "tasks.motif=1"])
    with pytest.raises(InputError, match="9 residues do not hold a motif that takes up to 12"):
        prepare(config, tmp_path / "data")
    config = load_config("backbones", [*TINY, f"data.path={folder}", *motif, "tasks.motif=1"])
    with pytest.raises(InputError, match="residues do not hold a motif that takes up to 12"):  # nor all training chains
        prepare(config, tmp_path / "data")


def test_the_filter_keeps_good_chains_that_are_no_copies(build: Build) -> None:
    helices = [build(words(0, 20), phi=phi).atoms[:, :3] for phi in (-60, -64)]
    good = Backbones.of(helices)
    assert Filter().keep(good, good).all()
    walk = random_walk(good, step_generator(0))
    assert not Filter().keep(walk, good).any()
    point = Backbones(0 * good.atoms, good.mask, good.residue_index)  # no distance is too long
    assert not Filter().keep(point, good).any()
    strand = Backbones.of([build(words(0, 20), phi=-120, psi=130).atoms[:, :3]])
    assert Filter(max_tm=0.5).keep(strand, good).all()
    assert not Filter(max_tm=0.5).keep(good, good).any()


def test_rectification_keeps_no_copies_of_training_chains(tmp_path: Path, build: Build) -> None:
    """A copy of a training chain is refused, one of a test chain is kept."""
    rows = tensors([build(words(0, 20)), build(words(0, 20), phi=-120, psi=130)])
    for k, split in enumerate(("train", "test")):
        part = {name: rows[name][k : k + 1] for name in ("mask", "residue_index")}
        x = {name: rows["x"][name][k : k + 1] for name in ("translation", "rotation")}
        save_tensors({"x": x, **part}, tmp_path / f"{split}.safetensors")
    samples = Samples(rows["x"], None, 1, cond=rows)
    assert BackboneStudy(rectify=Filter(max_tm=0.5)).keep(samples, tmp_path).tolist() == [False, True]
