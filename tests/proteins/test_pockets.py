"""Peptides in pockets: what a pocket is, what is held out, what is hidden, and a run from files to files."""

import functools
import json
import operator
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sciflow.errors import InputError
from sciflow.manifolds import SO3, tree_map
from sciflow.manifolds.quaternion import rotate
from sciflow.pipeline import evaluate, load_config, prepare, sample, train
from sciflow.pipeline.config import read_config
from sciflow.proteins.clusters import shared_words
from sciflow.proteins.complexes import Complex, Pocket, bound, families, pieces, read_complexes
from sciflow.proteins.files import write_structure
from sciflow.proteins.frame_flow import FrameFlow
from sciflow.proteins.pockets import PocketStudy
from sciflow.proteins.residues import AMINO_ACIDS, sequence
from sciflow.proteins.structure import Chain, read_structure
from sciflow.rng import sample_generators, step_generator
from sciflow.training import Samples, load_tensors, save_tensors

SMALL = FrameFlow(width=16, pair_width=8, depth=1, heads=2)
TASKS = ("codesign", "fixbb", "packing", "docking")


def letters(n: int, seed: int) -> str:
    return "".join(AMINO_ACIDS[i] for i in torch.randint(20, (n,), generator=step_generator(seed)))


def moved(chain: Chain, shift: Any, turn: torch.Tensor | None = None) -> Chain:
    atoms = chain.atoms if turn is None else rotate(turn, chain.atoms)
    return replace(chain, atoms=atoms + torch.as_tensor(shift, dtype=torch.float64))


@pytest.fixture
def complexes(build) -> list[Complex]:
    """Helices of 5 to 9 residues along helices of 30, their axes 0.9 nm apart."""
    found = []
    for i in range(12):
        receptor, peptide = build(letters(30, 100 + i), id="R"), build(letters(5 + i % 5, i), id="P")
        axis = receptor.atoms[18:, 1].mean(0) - receptor.atoms[:18, 1].mean(0)
        axis = axis / axis.norm()
        aside = torch.linalg.cross(axis, torch.eye(3, dtype=torch.float64)[i % 3])
        shift = 0.9 * aside / aside.norm() + (1 + 0.1 * i) * axis
        found.append(Complex(f"c{i:02d}", moved(peptide, shift), [receptor]))
    return found


@pytest.fixture
def folder(complexes, tmp_path) -> Path:
    """Two files a complex."""
    for one in complexes:
        (tmp_path / "bound" / one.name).mkdir(parents=True)
        write_structure([one.peptide], tmp_path / "bound" / one.name / "pep.pdb")
        write_structure(one.receptor, tmp_path / "bound" / one.name / "rec.pdb")
    return tmp_path / "bound"


@pytest.fixture
def data(folder, tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    PocketStudy(path=folder, pieces=20).prepare(None, tmp_path / "data")
    return tmp_path / "data"


def test_folders_files_and_archives_hold_the_same_complexes(complexes, folder, tmp_path, capsys) -> None:
    (tmp_path / "whole").mkdir()
    for one in complexes:
        write_structure([*one.receptor, one.peptide], tmp_path / "whole" / f"{one.name}.cif")
    with tarfile.open(tmp_path / "bound.tar", "w") as tar:
        tar.add(folder, "bound")
    ways = [(folder, ""), (tmp_path / "whole", "P"), (tmp_path / "whole", ""), (tmp_path / "bound.tar", "")]
    for path, chain in ways:
        found, notes = read_complexes(path, Pocket(), chain)
        assert notes == []
        assert [(c.name, c.peptide.sequence, c.sequence) for c in found] == [
            (c.name, c.peptide.sequence, c.sequence) for c in complexes
        ]
    with pytest.raises(InputError, match=r"\(c00: no chain Q, but R, P, left out"):
        read_complexes(tmp_path / "whole", Pocket(), "Q")
    write_structure(complexes[0].receptor, tmp_path / "whole" / "c01.cif")
    found, notes = read_complexes(tmp_path / "whole", Pocket(), "P")
    assert len(found) == len(complexes) - 1
    assert notes == ["c01: no chain P, but R, left out"]
    assert "11 of 12 complexes are kept (c01: no chain P, but R, left out; see meta.json)" in capsys.readouterr().err


def test_what_is_no_peptide_in_a_pocket_is_left_out_and_said(build, complexes, folder) -> None:
    receptor = complexes[0].receptor[0]
    gap = torch.tensor([0, 1, 2, 4, 5, 6])
    broken = build("AAAAAAA", id="P")
    broken = replace(broken, **{k: getattr(broken, k)[gap] for k in ("aatype", "atoms", "atom_mask", "residue_index")})
    cases = {
        "x1": build("ACDE", id="P"),
        "x2": moved(build("A" * 8, id="P"), (9, 9, 9)),
        "x3": moved(broken, complexes[0].peptide.atoms.mean((0, 1))),
    }
    for name, peptide in cases.items():
        (folder / name).mkdir()
        write_structure([peptide], folder / name / "a.pdb")
        write_structure([receptor], folder / name / "b.pdb")
    found, notes = read_complexes(folder, Pocket())
    assert len(found) == len(complexes)
    assert notes == [
        "x1: a peptide of 4 residues, not 5 to 25, left out",
        "x2: 0 residues of the receptor near the peptide, not 5, left out",
        "x3: a break in the peptide, left out",
    ]


def test_the_pocket_is_what_is_near_and_its_centre_is_the_origin(complexes) -> None:
    one = complexes[0]
    receptor = one.receptor[0]
    row = bound(one, Pocket(radius=0.8, most=64))
    there = receptor.atom_mask.flatten()
    apart = torch.cdist(receptor.atoms.flatten(0, 1), one.peptide.atoms[one.peptide.atom_mask]).amin(1)
    nearest = torch.where(there, apart, torch.inf).reshape(-1, 14).amin(1)
    near = nearest < 0.8
    assert sequence(row["aatype"]) == one.peptide.sequence + sequence(receptor.aatype[near])
    assert row["context"].tolist() == [False] * len(one.peptide) + [True] * int(near.sum())
    torch.testing.assert_close(row["translation"][row["context"]].mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    centre = receptor.atoms[near, 1].mean(0)
    torch.testing.assert_close(row["translation"][: len(one.peptide)], (one.peptide.atoms[:, 1] - centre).float())
    torch.testing.assert_close(row["origin"], centre.float().expand(len(row["aatype"]), 3))
    few = bound(one, Pocket(radius=0.8, most=6))
    kept = nearest <= nearest.sort().values[5]
    assert sequence(few["aatype"][few["context"]]) == sequence(receptor.aatype[kept])


def test_a_complex_that_moves_keeps_its_pocket(complexes) -> None:
    one, turn = complexes[1], SO3().random(1, generator=step_generator(3), dtype=torch.float64)
    other = Complex(one.name, moved(one.peptide, (1, 2, 3), turn), [moved(one.receptor[0], (1, 2, 3), turn)])
    a, b = (bound(c, Pocket()) for c in (one, other))
    torch.testing.assert_close(rotate(turn.float(), a["translation"]), b["translation"], atol=1e-5, rtol=0)
    torch.testing.assert_close(a["torsions"], b["torsions"], atol=1e-5, rtol=0)
    assert torch.equal(a["aatype"], b["aatype"])


def test_pieces_are_unbroken_and_their_ends_are_free(build) -> None:
    chain = build(letters(60, 7))
    gap = torch.cat([torch.arange(30), torch.arange(33, 60)])
    broken = replace(chain, **{k: getattr(chain, k)[gap] for k in ("aatype", "atoms", "atom_mask", "residue_index")})
    found = list(
        pieces([broken, moved(build(letters(40, 8), id="B"), (0.9, 0, 0))], Pocket(longest=12), 15, step_generator(0))
    )
    assert len(found) == 15
    for piece in found:
        own, beside = ({k: v[piece["context"] == side] for k, v in piece.items()} for side in (False, True))
        assert 5 <= len(own["aatype"]) <= 12
        assert (own["residue_index"].diff() == 1).all()
        assert sequence(own["aatype"]) in (broken.sequence + "-" + letters(40, 8))
        first, last = int(own["residue_index"][0]), int(own["residue_index"][-1])
        words = {sequence(own["aatype"])[i : i + 3] for i in range(len(own["aatype"]) - 2)}
        of = 1 if all(word in broken.sequence for word in words) else 2
        same = beside["residue_index"][beside["chain"] == of]
        assert not ((same >= first - 2) & (same <= last + 2)).any()


def test_receptors_are_held_out_by_clusters_and_pieces_are_of_training(complexes, data) -> None:
    meta = json.loads((data / "meta.json").read_text())
    names = meta["complexes"]
    assert sorted(functools.reduce(operator.iadd, names.values(), [])) == [c.name for c in complexes]
    by_name = {c.name: c for c in complexes}
    held_out = [by_name[name].sequence for name in names["test"] + names["val"]]
    train = [by_name[name].sequence for name in names["train"]]
    assert shared_words(held_out, train).max() <= 0.2
    rows = load_tensors(data / "train.safetensors")
    extra = [row[m & ~c] for row, m, c in zip(rows["aatype"], rows["mask"], rows["context"], strict=True)][
        -meta["pieces"] :
    ]
    assert len(rows["mask"]) - meta["pieces"] == len(train)  # 20 pieces are too few to repeat crystals
    assert meta["pieces"] > 10
    assert all(any(sequence(piece) in receptor for receptor in train) for piece in extra)


def test_complexes_with_alike_receptors_or_peptides_are_one_family(build) -> None:
    """A copy of a peptide, and a part of it, join receptors that have nothing in common; half its words do not."""
    same, other = letters(30, 1), letters(30, 2)
    peptides = ["ACDEFG", "HIKLMN", "HIKLMN", "MHIKLMNQ", "HIKLCCC", "PQRSTV"]
    receptors = [same, same, other, *(letters(30, seed) for seed in (3, 4, 5))]
    made = [
        Complex(str(i), build(p, id="P"), [build(r)]) for i, (p, r) in enumerate(zip(peptides, receptors, strict=True))
    ]
    assert families(made) == [0, 0, 0, 0, 1, 2]
    assert len(set(families(made[:1] + made[2:]))) == 4  # without the link that both had


def test_no_held_out_peptide_is_like_one_in_training(build, complexes, tmp_path) -> None:
    """Five receptors bind one peptide: these complexes are in one split."""
    for one in complexes:
        (tmp_path / "bound" / one.name).mkdir(parents=True)
        peptide = complexes[4].peptide if int(one.name[1:]) < 4 else one.peptide
        peptide = replace(peptide, atoms=peptide.atoms - peptide.atoms[:, 1].mean(0) + one.peptide.atoms[:, 1].mean(0))
        write_structure([peptide], tmp_path / "bound" / one.name / "pep.pdb")
        write_structure(one.receptor, tmp_path / "bound" / one.name / "rec.pdb")
    for seed in range(4):
        (tmp_path / f"{seed}").mkdir()
        PocketStudy(path=tmp_path / "bound", pieces=0, seed=seed).prepare(None, tmp_path / f"{seed}")
        meta = json.loads((tmp_path / f"{seed}" / "meta.json").read_text())
        split = {name: part for part, names in meta["complexes"].items() for name in names}
        assert len({split[f"c{i:02d}"] for i in range(5)}) == 1
        assert meta["families"] == 8


def test_pieces_of_other_structures_are_unlike_held_out_receptors(build, complexes, folder, data, tmp_path) -> None:
    """Sixty residues that hold a held-out receptor are left out; sixty others are not."""
    meta = json.loads((data / "meta.json").read_text())
    held_out = next(one.sequence for one in complexes if one.name == meta["complexes"]["test"][0])
    (tmp_path / "raw" / "structures").mkdir(parents=True)
    for name, sequence_ in (("alike", held_out + letters(30, 7)), ("unlike", letters(60, 8))):
        write_structure([build(sequence_, id="A")], tmp_path / "raw" / "structures" / f"{name}.pdb")
    (tmp_path / "more").mkdir()
    PocketStudy(path=folder, pieces=20, structures=True).prepare(tmp_path / "raw", tmp_path / "more")
    more = json.loads((tmp_path / "more" / "meta.json").read_text())
    assert more["complexes"] == meta["complexes"]
    assert more["pieces_from"] == meta["pieces_from"] + 1


@pytest.mark.parametrize("task", TASKS)
def test_nothing_hidden_enters_and_the_pocket_stays(task, folder, data, tmp_path) -> None:
    study = PocketStudy(task=task, path=folder, architecture=SMALL)
    torch.manual_seed(0)
    model = study.model(data).eval()
    for parameter in model.parameters():
        if not parameter.any():  # its heads, which start at zero, say something
            parameter.data.normal_(std=0.3)
    indices, streams = [1, 4], [sample_generators(0, 3, 2) for _ in range(2)]
    cond = study.conditions(data, indices)
    samples = model.sample(2, cond, streams[0], steps=3)

    whole = load_tensors(data / "test.safetensors")
    design, seen = whole["mask"] & ~whole["context"], {"fixbb": ("translation", "rotation"), "docking": ("sequence",)}
    given = seen.get(task, ("translation", "rotation", "sequence") if task == "packing" else ())
    other = {name: value.flip(1) if name in given else value.flip(0, 1) for name, value in whole["x"].items()}
    turned = {n: torch.where(design[..., None] & (n not in given), other[n], v) for n, v in whole["x"].items()}
    if "sequence" not in given:  # how many torsions there are would tell the type
        whole["torsion_mask"] = whole["torsion_mask"] & ~design[..., None]
        whole["aatype"] = torch.where(design, 0, whole["aatype"])
    whole |= {name: whole[name] + 1 for name in ("origin", "author")}  # names and places in files are for files alone
    (tmp_path / "moved").mkdir()
    save_tensors({**whole, "x": turned}, tmp_path / "moved/test.safetensors")
    again = model.sample(2, study.conditions(tmp_path / "moved", indices), streams[1], steps=3)
    rows = torch.tensor(indices) % len(whole["mask"])
    for name, value in samples.x.items():
        assert torch.equal(value, again.x[name])
        held = (whole["context"] | design & torch.tensor(name in given))[rows]
        assert torch.equal(value[held], whole["x"][name][rows][held])
        free = (design & torch.tensor(name not in given))[rows]
        assert not free.any() or not torch.equal(value[free], whole["x"][name][rows][free])


def test_crystals_as_samples_are_written_and_judged(folder, data, tmp_path) -> None:
    study = PocketStudy(path=folder)
    test = load_tensors(data / "test.safetensors")
    n = len(test["mask"])
    twice = tree_map(lambda v: torch.cat([v, v]), test["x"])
    samples = Samples(twice, None, 1, cond=study.conditions(data, range(2 * n)))
    study.write(samples, tmp_path, data)
    names = json.loads((data / "meta.json").read_text())["complexes"]["test"]
    for i in (0, n):
        for suffix in ("pdb", "cif"):
            chains, _ = read_structure(tmp_path / f"sample_{i:04d}.{suffix}")
            crystal, _ = read_structure(folder / names[0] / "pep.pdb")
            assert chains[0].sequence == crystal[0].sequence
            receptor, _ = read_structure(folder / names[0] / "rec.pdb")
            given = torch.isin(receptor[0].residue_index, chains[1].residue_index)
            assert sequence(receptor[0].aatype[given]) == chains[1].sequence
            for written, true in ((chains[0], crystal[0].atoms), (chains[1], receptor[0].atoms[given])):
                torch.testing.assert_close(written.atoms[:, 1], true[:, 1], atol=2e-4, rtol=0)  # three digits of an Å
    heads = [line for line in (tmp_path / "peptides.fasta").read_text().splitlines() if line.startswith(">")]
    assert heads == [f">sample_{i:04d}_A {name}" for i, name in enumerate(names * 2)]
    assert (tmp_path / f"sample_{n:04d}.pdb").read_text().startswith(f"TITLE     {names[0]}\n")
    evaluation = study.evaluate(samples, data)
    assert evaluation.metrics["recovery"].value == evaluation.metrics["contact_recovery"].value == 1
    assert evaluation.metrics["rmsd"].value == 0
    assert set(evaluation.figures) == set(evaluation.captions) == {"side_chains", "sequences", "poses"}


def test_written_residues_have_the_numbers_of_their_files(complexes, tmp_path) -> None:
    """Numbers that jump, and an insertion code."""
    numbers, codes = torch.tensor([7, 8, 8, *range(101, 128)]), ("", "", "B", *[""] * 27)
    for one in complexes:
        (tmp_path / one.name).mkdir()
        write_structure([one.peptide], tmp_path / one.name / "pep.pdb")
        receptor = replace(one.receptor[0], residue_index=numbers, insertions=codes)
        write_structure([receptor], tmp_path / one.name / "rec.pdb")
    data = tmp_path / "data"
    data.mkdir()
    study = PocketStudy(path=tmp_path, pieces=0, pocket=Pocket(radius=2.0))
    study.prepare(None, data)
    test = load_tensors(data / "test.safetensors")
    study.write(Samples(test["x"], None, 1, cond=study.conditions(data, range(len(test["mask"])))), tmp_path, data)
    name = json.loads((data / "meta.json").read_text())["complexes"]["test"][0]
    (crystal,), _ = read_structure(tmp_path / name / "rec.pdb")
    for suffix in ("pdb", "cif"):
        _, pocket = read_structure(tmp_path / f"sample_0000.{suffix}")[0]
        there = torch.cdist(pocket.atoms[:, 1], crystal.atoms[:, 1]).argmin(1)
        assert len(there.unique()) == len(there)
        assert torch.equal(pocket.residue_index, crystal.residue_index[there])
        assert pocket.insertions == tuple(crystal.insertions[i] for i in there)
        assert "B" in pocket.insertions


def test_oxygens_of_samples_lie_in_the_plane_of_their_bond(folder, data, tmp_path) -> None:
    """Any ψ of a sample moves the last oxygen of each chain alone."""
    study, test = PocketStudy(path=folder), load_tensors(data / "test.safetensors")
    found = []
    for psi in (None, 2.0):
        x = dict(test["x"])
        if psi is not None:
            x["torsions"] = x["torsions"].index_fill(2, torch.tensor(0), psi)
        study.write(Samples(x, None, 1, cond=study.conditions(data, range(len(test["mask"])))), tmp_path, data)
        found.append(read_structure(tmp_path / "sample_0000.cif")[0][0])
    crystal, sample = found
    assert torch.equal(crystal.atoms[:-1], sample.atoms[:-1])
    assert not torch.equal(crystal.atoms[-1, 3], sample.atoms[-1, 3])


def test_settings_that_are_wrong_are_one_line(tmp_path) -> None:
    with pytest.raises(InputError, match=r"study\.task=motif: a peptide has codesign, fixbb, packing, docking"):
        PocketStudy(task="motif")
    with pytest.raises(InputError, match=r"study\.pocket\.radius=0 must be greater than 0"):
        PocketStudy(pocket=Pocket(radius=0))
    for name in ("most", "longest"):  # no complex could pass
        PocketStudy(pocket=Pocket(**{name: 5}))
        with pytest.raises(InputError, match=rf"study\.pocket\.{name}=4 must be greater than 4"):
            PocketStudy(pocket=Pocket(**{name: 4}))
    with pytest.raises(InputError, match=r"study\.held_out=0\.5 must be above 0 and below 0\.5"):
        PocketStudy(held_out=0.5)
    (tmp_path / "a").mkdir()
    write_structure([Chain("a", "A", *_glycines())], tmp_path / "a" / "a.pdb")
    with pytest.raises(InputError, match=r"no complex of a peptide and a receptor \(a: one chain only, left out\)"):
        read_complexes(tmp_path, Pocket())


def _glycines() -> tuple[torch.Tensor, ...]:
    atoms = torch.zeros(6, 14, 3, dtype=torch.float64)
    atoms[:, :4] = torch.tensor([[-0.05, 0.136, 0], [0, 0, 0], [0.152, 0, 0], [0.2, 0.1, 0.1]])
    atoms += torch.arange(6)[:, None, None]
    return torch.full((6,), 5), atoms, torch.arange(14).expand(6, 14) < 4, torch.arange(6)


@pytest.mark.skipif("SCIFLOW_MIRROR" not in os.environ, reason="reads the data set pepset")
def test_floors_of_real_complexes(tmp_path) -> None:
    with tarfile.open(Path(os.environ["SCIFLOW_MIRROR"]) / "pepset/complexes.tar.xz") as tar:
        names = sorted({member.name.split("/")[-2] for member in tar.getmembers() if member.isfile()})[:40]
        chosen = [member for member in tar.getmembers() if member.isfile() and member.name.split("/")[-2] in names]
        tar.extractall(tmp_path, members=chosen, filter="data")
    study = PocketStudy(path=tmp_path / "pepset/bound", pieces=0)
    (tmp_path / "data").mkdir()
    study.prepare(None, tmp_path / "data")
    meta = json.loads((tmp_path / "data/meta.json").read_text())
    assert 0.4 < meta["scale"] < 0.9  # nm; 0.65 over all 184
    rows = load_tensors(tmp_path / "data/train.safetensors")
    meta["complexes"]["test"] = meta["complexes"]["train"]
    (tmp_path / "data/meta.json").write_text(json.dumps(meta))
    (tmp_path / "data/test.safetensors").write_bytes((tmp_path / "data/train.safetensors").read_bytes())
    metrics = study.evaluate(Samples(rows["x"], None, 1), tmp_path / "data").metrics
    # Of all 184 complexes: 51.0° and 47.6 % for the commonest rotamer, 10.3 % proline; here of some 28.
    assert abs(metrics["chi1_mae"].floor - 51) < 6
    assert abs(metrics["chi_within_20"].floor - 0.476) < 0.06
    assert abs(metrics["recovery"].floor - 0.103) < 0.06
    assert metrics["peptide_bonds_valid"].reference > 0.95
    assert metrics["clashes"].reference < 0.2


@pytest.mark.e2e
def test_one_model_serves_its_tasks_from_files_to_files(folder, tmp_path) -> None:
    small = ["model.width=16", "model.pair_width=8", "model.depth=1", "model.heads=2", "trainer.steps=3", "n=3"]
    every = [f"study.tasks.{task}=1" for task in TASKS]
    own = [f"study.path={folder}", "study.pieces=10", "study.structures=false"]
    config = load_config("pocket_peptides", [*own, *every, *small, "sampler.steps=2"])
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    for task, expected in {"codesign": {"rmsd", "recovery", "clashes"}, "packing": {"chi1_mae", "clashes"}}.items():
        config = read_config(tmp_path / "model/config.yaml", [f"study.task={task}"])
        out = tmp_path / task
        samples = sample(config, tmp_path / "data", tmp_path / "model", out / "samples")
        assert samples.cond is not None
        held = samples.cond["context"]
        for name, value in samples.x.items():
            assert torch.equal(value[held], samples.cond["x"][name][held])
        assert len(list((out / "samples").glob("*.cif"))) == len(list((out / "samples").glob("*.pdb"))) == 3
        metrics = evaluate(config, tmp_path / "data", out / "samples", out).metrics
        assert expected <= set(metrics)
