"""Peptides: the enzyme's rule, groups of proteins, what is counted, and the whole study, small."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from sciflow.alphabets import AMINO_ACIDS
from sciflow.errors import InputError
from sciflow.pipeline import evaluate, load_config, prepare, sample, train
from sciflow.sequences import PeptideStudy
from sciflow.sequences.peptide_metrics import HYDROPATHY, Peptides, peptide_metrics
from sciflow.sequences.peptides import PeptideFiles, _chains, decoded, digest, encoded
from sciflow.training import Samples, load_tensors

TINY = ["trainer.steps=5", "trainer.batch_size=16", "model.width=16", "model.depth=1", "n=20", "sampler.steps=3"]


def proteins(n: int, seed: int = 0, length: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(AMINO_ACIDS), length)) for _ in range(n)]


def peptides(rows: list[str], width: int = 24) -> Peptides:
    return Peptides(*encoded(rows, width))


def test_pieces_are_cut_after_basic_residues_but_not_before_proline() -> None:
    assert digest("AAKCCRPDDKKEE") == ["AAK", "CCRPDDK", "K", "EE"]
    for protein in proteins(20):
        pieces = digest(protein)
        assert "".join(pieces) == protein
        assert peptides(pieces[:-1], 60).tryptic.all()
    assert peptides(["AAK", "AAR", "KPAK", "AKA", "AKAK", "AA", "AKP"]).tryptic.tolist() == [True] * 3 + [False] * 4


def test_letters_come_back_and_properties_are_sums_over_residues() -> None:
    rows = proteins(5, length=7) + proteins(5, length=19)
    one = peptides(rows)
    assert decoded(one.x, one.mask) == rows
    assert one.lengths.tolist() == [len(row) for row in rows]
    scale = dict(zip(AMINO_ACIDS, HYDROPATHY, strict=True))
    assert scale["I"] == max(HYDROPATHY)
    assert scale["R"] == min(HYDROPATHY)
    assert one.hydropathy.tolist() == pytest.approx([np.mean([scale[k] for k in row]) for row in rows])
    assert one.charge.tolist() == [sum(row.count(k) for k in "KR") - sum(row.count(k) for k in "DE") for row in rows]


def test_redealt_letters_keep_composition_and_lengths_and_lose_the_rest() -> None:
    one = peptides([piece for p in proteins(200) for piece in digest(p) if 6 <= len(piece) <= 24])
    dealt = one.redealt(torch.Generator().manual_seed(0))
    assert dealt.words(1).equal(one.words(1))
    assert dealt.mask.equal(one.mask)
    parts = {"samples": one, "held out": one, "training": one, "redealt": dealt, "equal": dealt}
    metrics = peptide_metrics(parts, True)
    gap = wasserstein_distance(dealt.charge, one.charge)
    for name in ("words_2", "charge_distance", "length_distance"):
        assert metrics[name].value == metrics[name].reference == 0
    assert metrics["charge_distance"].floor == gap > 0
    assert metrics["tryptic"].floor < 0.1 < 0.7 < metrics["tryptic"].value


def test_floors_are_of_as_many_peptides_as_there_are_samples(tmp_path: Path) -> None:
    """Where letters are independent, dealing them anew changes nothing: floors are as references, however few.

    Distances of twenty peptides to the law are due to their number alone. Those of letters, 19 degrees of freedom,
    scatter by √(2/19) = 32 %, those of words, 399, by a few per cent.
    """
    (tmp_path / "mine.fasta").write_text("".join(f">{i}\n{row}\n" for i, row in enumerate(proteins(3000, length=12))))
    study = PeptideStudy(data=PeptideFiles(tmp_path / "mine.fasta"))
    study.prepare(None, tmp_path)
    cond = study.conditions(tmp_path, range(20))
    train = load_tensors(tmp_path / "train.safetensors")
    metrics = study.evaluate(Samples(train["x"][:20], None, 1, cond=cond), tmp_path).metrics
    for name, most in {"words_2": 1.2, "composition_kl": 3.0}.items():
        assert 1 / most < metrics[name].floor / metrics[name].reference < most, name


def test_what_is_left_out_is_counted_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*proteins(20, length=10), *proteins(5, length=25), *proteins(2, length=5), "MKWVTFX"]
    (tmp_path / "mine.fasta").write_text("".join(f">{i}\n{row}\n" for i, row in enumerate(rows)))
    PeptideStudy(data=PeptideFiles(tmp_path / "mine.fasta")).prepare(None, tmp_path)
    assert capsys.readouterr().err == (
        "prepare: 5 of 27 peptides are longer than study.data.longest=24, 2 shorter than study.data.shortest=6; they "
        "are left out\n"
    )
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["sequences"] == 27
    assert meta["left out"] == {"longer than 24": 5, "shorter than 6": 2, "with ambiguous letters, or empty": 1}
    PeptideStudy(data=PeptideFiles(tmp_path / "mine.fasta", shortest=5, longest=25)).prepare(None, tmp_path)
    assert not capsys.readouterr().err


def test_proteins_with_a_peptide_in_common_are_in_one_split(tmp_path: Path) -> None:
    """Ten families: each protein is half the same as the others of its family, and half its own."""
    common, own = proteins(10, 1), proteins(40, 2)
    rows = [f"{common[i % 10]}K{row}" for i, row in enumerate(own)]
    (tmp_path / "mine.fasta").write_text("".join(f">{i}\n{row}\n" for i, row in enumerate(rows)))
    study = PeptideStudy(data=PeptideFiles(tmp_path / "mine.fasta", digest=True, shortest=5, held_out=0.2))
    study.prepare(None, tmp_path)
    found = []
    for split in ("train", "val", "test"):
        part = load_tensors(tmp_path / f"{split}.safetensors")
        pieces = set(decoded(part["x"], part["mask"]))
        found.append({i % 10 for i, row in enumerate(rows) if pieces & set(digest(row))})
    assert sum(map(len, found)) == len(set.union(*found)) == 10


def test_chains_are_read_in_unbroken_stretches(tmp_path: Path) -> None:
    def line(number: int, residue: str, chain: str, atom: str = " CA ", other: str = " ") -> str:
        return f"ATOM  {number:5d} {atom}{other}{residue} {chain}{number:4d}      0.0     0.0     0.0\n"

    text = "".join(line(i, r, "A") for i, r in ((1, "ALA"), (2, "LYS"), (4, "GLY"), (5, "MSE"), (6, "TRP")))
    text += line(6, "TRP", "A", " CB ") + line(7, "SER", "A", other="A") + line(7, "SER", "A", other="B")
    text += line(8, "TYR", "B") + "ENDMDL\n" + line(9, "ALA", "B")
    (tmp_path / "a.pdb").write_text(text)
    assert [stretch for stretch in _chains(tmp_path / "a.pdb") if stretch] == ["AK", "G", "WS", "Y"]


def test_what_is_no_set_of_peptides_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.fasta"
    path.write_text(">a\nACGTACGT\n>b\nACGGTTAA\n")
    with pytest.raises(InputError, match=r"a\.fasta: reads as nucleotides"):
        PeptideStudy(data=PeptideFiles(path)).prepare(None, tmp_path)
    path.write_text(">a\nMKWVTF\n>b\nMKWVTFISL\n")
    with pytest.raises(InputError, match=r"2 distinct peptides of 6 to 24 letters"):
        PeptideStudy(data=PeptideFiles(path)).prepare(None, tmp_path)
    path.write_text("".join(f">{i}\n{row}\n" for i, row in enumerate(proteins(5))))
    with pytest.raises(InputError, match=r"0 distinct .* study\.data\.longest; whole .* study\.data\.digest=true$"):
        PeptideStudy(data=PeptideFiles(path)).prepare(None, tmp_path)
    with pytest.raises(InputError, match="run `sciflow fetch structures`"):
        PeptideStudy().prepare(tmp_path, tmp_path)
    with pytest.raises(InputError, match="shortest=9 must be from 1 to"):
        PeptideFiles(shortest=9, longest=8)


@pytest.mark.e2e
def test_from_a_file_of_proteins_to_new_peptides(tmp_path: Path) -> None:
    (tmp_path / "mine.fasta").write_text("".join(f">{i}\n{row}\n" for i, row in enumerate(proteins(30))))
    config = load_config("peptide_sequences", [*TINY, f"data.path={tmp_path / 'mine.fasta'}", "data.digest=true"])
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    drawn = sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    metrics = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path).metrics
    assert {"composition_kl", "tryptic", "identity_to_train", "copies", "unique"} < metrics.keys()
    lines = (tmp_path / "samples" / "samples.fasta").read_text().splitlines()
    assert [len(line) for line in lines[1::2]] == drawn.cond["mask"].sum(1).tolist()
