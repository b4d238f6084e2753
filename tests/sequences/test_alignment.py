"""Alignments: structures, files, densities without a network, metrics by hand, and a study from file to report."""

import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from sciflow.errors import InputError
from sciflow.pipeline import evaluate, load_config, prepare, sample, train
from sciflow.rng import step_generator
from sciflow.sequences import AlignmentStudy
from sciflow.sequences.alignment import AlignmentFile
from sciflow.sequences.alphabet import Alphabet
from sciflow.sequences.autoregressive import Autoregressive
from sciflow.sequences.files import read_family, write_fasta, write_stockholm
from sciflow.sequences.identity import aligned_clusters, clusters, hamming
from sciflow.sequences.logos import information
from sciflow.sequences.metrics import Alignment, alignment_metrics
from sciflow.sequences.structure import consensus_pairs, pair_table, restricted
from sciflow.training import Samples, load_tensors

BLOCKS = """# STOCKHOLM 1.0
#=GF ID hairpin

one   GGA.U
two   GC-AT
#=GC SS_cons <<A..
#=GC RF      gga.u

one   CUACC
two   NNNNN
#=GC SS_cons >a>..
//
"""
HAIRPIN = "<<<<....>>>>--"


def hairpins(n: int, seed: int = 0) -> list[str]:
    """Rows of a stem of four pairs with a loop and two more columns, of which the last is mostly a gap."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(4, (n, 10), generator=generator).tolist()
    rows = []
    for i, draw in enumerate(draws):
        stem = "".join("ACGU"[k] for k in draw[:4])
        back = stem[::-1].translate(str.maketrans("ACGU", "UGCA"))
        loop = "".join("ACGU"[k] for k in draw[4:8])
        rows.append(f"{stem}{loop}{back}{'A-'[draw[8] % 2]}{'C' if i == 0 else '-'}")
    return rows


def test_stockholm_comes_in_blocks_with_its_structure(tmp_path: Path) -> None:
    path = tmp_path / "a.sto"
    path.write_text(BLOCKS.replace("NNNNN", "CCACU").replace("T\n", "U\n"))
    found = read_family(path)
    assert found.aligned == ["GGA-UCUACC", "GC-AUCCACU"]
    assert found.structure == "<<A..>a>.."
    assert found.letters == "ACGU"
    path.write_text(BLOCKS)
    assert read_family(path).names == ["one"]
    assert read_family(path).dropped == {"with ambiguous letters, or empty": 1}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows, names = hairpins(20), [f"s{i}" for i in range(20)]
    write_stockholm(names, rows, HAIRPIN, tmp_path / "a.sto")
    found = read_family(tmp_path / "a.sto")
    kept = list(dict.fromkeys(zip((row.replace("-", "") for row in rows), rows, strict=True)))
    assert found.aligned == [row for _, row in kept]
    assert found.structure == HAIRPIN
    write_fasta(found.names, found.aligned, tmp_path / "a.fasta")
    assert read_family(tmp_path / "a.fasta").aligned == found.aligned
    write_stockholm(names, rows, None, tmp_path / "b.sto")
    assert read_family(tmp_path / "b.sto").structure is None


def test_tables_have_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Label,sequence,name\nx,ACGT,first\ny,NNNN,second\nz,ACG-,third\n")
    found = read_family(path)
    assert (found.names, found.labels) == (["first", "third"], ["x", "z"])
    assert (found.aligned, found.letters) == (["ACGT", "ACG-"], "ACGT")
    path.write_text("label,sequence\nx,ACGT\ny,ACGT\nx,ACGT\n")
    assert read_family(path).dropped == {"the same as another, of another label": 1, "the same as another": 1}
    path.write_text("letters\nACGT\n")
    with pytest.raises(InputError, match="no column sequence"):
        read_family(path)


def test_files_that_cannot_be_meant_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.sto"
    path.write_text(BLOCKS + BLOCKS)
    with pytest.raises(InputError, match="several alignments"):
        read_family(path)
    path.write_text(BLOCKS.replace("SS_cons >a>..", "SS_cons >a>."))
    with pytest.raises(InputError, match="SS_cons has 9 columns, the rows 10"):
        read_family(path)
    with pytest.raises(InputError, match="no such file"):
        read_family(tmp_path / "none.fasta")


def test_brackets_nest_and_letters_cross() -> None:
    assert consensus_pairs("<<..>>") == [(0, 5), (1, 4)]
    assert consensus_pairs("((<[{,,}]>_))::") == [(0, 12), (1, 11), (2, 9), (3, 8), (4, 7)]
    assert consensus_pairs("<<AA.>>.aa") == [(0, 6), (1, 5), (2, 9), (3, 8)]
    assert consensus_pairs("<A>a") == [(0, 2), (1, 3)]
    assert consensus_pairs("...") == []


@pytest.mark.parametrize(("structure", "says"), [("<<.>", "column 1: '<' is not"), (".>", "column 2: '>' closes no")])
def test_a_bracket_has_a_partner(structure: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        consensus_pairs(structure)


def test_pairs_of_some_columns_are_those_with_both() -> None:
    structure, generator = "<<A..>>.<<..a>>-", torch.Generator().manual_seed(0)
    for _ in range(50):
        columns = (torch.rand(len(structure), generator=generator) < 0.7).nonzero().flatten().tolist()
        place = {old: new for new, old in enumerate(columns)}
        expected = [(place[i], place[j]) for i, j in consensus_pairs(structure) if i in place and j in place]
        assert consensus_pairs(restricted(structure, columns)) == expected


def test_six_pairs() -> None:
    table = pair_table("ACGU-")
    assert torch.equal(table, table.T)
    assert table.sum() == 6
    assert torch.equal(table, pair_table("ACGT-"))
    assert table[2, 3]
    assert not table[0, 1]


def test_letters_and_numbers() -> None:
    rna = Alphabet("ACGU-")
    assert rna.encode(["AC-", "UGG"]).tolist() == [[0, 1, 4], [3, 2, 2]]
    assert rna.decode(rna.encode(["AC-", "UGG"])) == ["AC-", "UGG"]
    assert (rna.gap, Alphabet("ACGT").gap) == (4, 4)  # the second has none: no letter is that
    with pytest.raises(ValueError, match="not in the letters"):
        rna.encode(["ACT"])
    with pytest.raises(ValueError, match="not of one length"):
        rna.encode(["AC", "A"])


def every(k: int, length: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(k), repeat=length)))


def test_the_autoregressive_density_sums_to_one_and_is_that_of_its_draws() -> None:
    x = every(3, 3)[torch.randint(27, (40,), generator=torch.Generator().manual_seed(0))]
    for law in (Autoregressive.independent(x, 3, 0.5), Autoregressive.fit(x, 3, 1e-3)):
        p = law.log_prob(every(3, 3)).exp()
        torch.testing.assert_close(p.sum(), torch.ones((), dtype=torch.float64))
        n = 20_000
        drawn = law.sample(n, step_generator(0)) @ torch.tensor([9, 3, 1])
        assert 0.5 * (torch.bincount(drawn, minlength=27) / n - p).abs().sum() < 3 / math.sqrt(n)


def test_baselines_meet_their_closed_forms() -> None:
    """Counts, for columns of their own; of two columns, which couplings fit exactly, the frequencies of the rows."""
    x = torch.tensor([[0, 1], [0, 1], [1, 0], [1, 1]])
    p = Autoregressive.independent(x, 2, 1e-9).log_prob(every(2, 2)).exp()
    torch.testing.assert_close(p, torch.tensor([0.125, 0.375, 0.125, 0.375], dtype=torch.float64), rtol=0, atol=1e-6)
    p = Autoregressive.fit(torch.cat([x, x[:1].flip(1), x[2:3].flip(0)]), 2, 1e-7).log_prob(every(2, 2)).exp()
    # rows 01 01 10 11 10 10; by 40 steps in float32
    torch.testing.assert_close(p, torch.tensor([0.0, 2 / 6, 3 / 6, 1 / 6], dtype=torch.float64), rtol=0, atol=5e-3)


def test_distances_and_clusters_by_hand() -> None:
    rna = Alphabet("ACGU-")
    x = rna.encode(["AAAA--", "AAAC--", "GGGG--", "GGGGAA", "----UU"])
    assert hamming(x, x[[1, 3]]).tolist() == [1, 0, 2, 0, 6]
    # gaps that both have count for nothing: AAAA and AAAC share 3 of 4 letters, GGGG 4 of GGGGAA's 6
    assert aligned_clusters(x, rna.gap, 0.7, Path("a")) == [0, 0, 1, 2, 3]
    assert aligned_clusters(x, rna.gap, 0.6, Path("a")) == [0, 0, 1, 1, 2]
    assert clusters(np.eye(3), Path("a")) == [0, 1, 2]
    with pytest.raises(InputError, match="2 distinct sequences in 2 clusters"):
        clusters(np.eye(2), Path("a"))


def test_covariances_are_of_pairs_of_columns() -> None:
    """Zero for all combinations; and by hand where two columns go together."""
    pairs = torch.empty(0, 2, dtype=torch.long)
    assert Alignment(every(3, 3), "ABC", pairs).covariances.abs().max() < 1e-7
    both = Alignment(torch.tensor([[0, 0], [1, 1]]), "AB", pairs).covariances
    assert both.tolist() == [0.25, -0.25, -0.25, 0.25]


def test_metrics_by_hand() -> None:
    letters, pairs = "ACGU-", torch.tensor([[0, 3], [1, 2]])
    rna = Alphabet(letters)
    rows = {
        "samples": ["ACGU", "A-GU", "ACGG", "ACGU"],  # of 7 pairs of letters AG alone cannot
        "held out": ["GCGU", "CCGG", "GA-C"],
        "training": ["ACGU", "UCGA", "G--C"],
        "profile": ["AAAA", "CCCC", "GGGG", "UUUU"],
    }
    found = alignment_metrics(
        {name: Alignment(rna.encode(own), letters, pairs) for name, own in rows.items()},
        {"samples": torch.tensor([-4.0, -8.0, -12.0]), "profile": torch.full((3,), -10.0)},
        torch.tensor([0, 1, 2]),
    )
    assert found["pairing"].value == pytest.approx(6 / 7)
    assert found["pairing"].reference == pytest.approx(1.0)
    assert found["pairing"].floor == 0
    assert found["gap_agreement"].value == pytest.approx(7 / 8)
    assert found["unique"].value == 0.75
    assert found["copies"].value == 0.5
    assert found["nearest_train"].value == pytest.approx((0 + 1 + 1 + 0) / 4)
    assert found["near_copies"].value == 1  # rows of four letters
    assert found["length_distance"].value == pytest.approx(abs(3.75 - 10 / 3))  # one law lies below the other
    assert found["log_likelihood"].value == pytest.approx(-2)
    assert found["log_likelihood"].floor == -2.5


def test_training_rows_themselves_are_copies() -> None:
    """And have its laws, but for the half that is added to their counts."""
    pairs = torch.tensor(consensus_pairs(HAIRPIN))
    x = Alphabet("ACGU-").encode(hairpins(400))
    train, other = Alignment(x, "ACGU-", pairs), Alignment(x[:200], "ACGU-", pairs)
    rows = {"samples": train, "training": train, "held out": other, "profile": other}
    found = alignment_metrics(rows, {}, torch.arange(200))
    for name, value in {"pairing": 1, "covariance": 1, "copies": 1, "nearest_train": 0, "length_distance": 0}.items():
        assert found[name].value == pytest.approx(value, abs=1e-6), name
    assert 0 < found["column_kl"].value < 5 / 400  # (K/2)² / n² at most, for letters that are rare
    assert found["covariance"].reference < 1


def test_one_row_over_and_over_has_no_covariances() -> None:
    pairs = torch.tensor(consensus_pairs(HAIRPIN))
    x = Alphabet("ACGU-").encode(hairpins(400))
    train, one = Alignment(x, "ACGU-", pairs), Alignment(x[:1].expand(50, -1), "ACGU-", pairs)
    rows = {"samples": one, "training": train, "held out": train, "profile": train}
    found = alignment_metrics(rows, {}, torch.arange(400))
    assert found["covariance"].value == found["covariance_held_out"].value == 0
    assert found["covariance"].reference == pytest.approx(1)


def test_training_rows_with_few_mutations_are_near_copies() -> None:
    """Up to five of 30 columns; rows of chance share a quarter of their letters, and are not."""
    none = torch.empty(0, 2, dtype=torch.long)
    x = torch.randint(4, (60, 30), generator=step_generator(0))
    mutated = x[:20].clone()
    for i, row in enumerate(mutated):
        row[: i % 10] = (row[: i % 10] + 1) % 4
    rows = {"samples": mutated, "training": x[:40], "held out": x[40:], "profile": x[40:]}
    found = alignment_metrics({k: Alignment(v, "ACGU-", none) for k, v in rows.items()}, {}, torch.arange(20))
    assert found["near_copies"].value == pytest.approx(0.6)
    assert found["near_copies"].reference == 0


def test_information_of_columns() -> None:
    """Nothing where letters are as likely, two bits less chance where one is sure, and less where rows have gaps."""
    f = torch.tensor([[0.25, 0.25, 0.25, 0.25, 0], [1, 0, 0, 0, 0], [0.5, 0, 0, 0, 0.5], [0, 0, 0, 0, 1.0]])
    few = 3 / (2 * math.log(2) * 100)
    expected = [0, 2 - few, (2 - 2 * few) / 2, 0]
    np.testing.assert_allclose(information(f, "ACGU-", 100).sum(1), expected, atol=1e-12)
    assert (information(f, "ACGU-", 100)[:, 4] == 0).all()


def test_alignments_that_cannot_be_learnt_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use one of tRNA, 5S_rRNA"):
        AlignmentStudy(family="5s")
    with pytest.raises(InputError, match=r"study\.data\.gaps=1\.5 must be at most 1"):
        AlignmentFile(gaps=1.5)
    path = tmp_path / "a.fasta"
    path.write_text(">a\nAC-U\n>b\nACG\n>c\nGGGG\n")
    with pytest.raises(InputError, match="take out the gaps and use study=sequence_family"):
        AlignmentStudy(data=AlignmentFile(path)).prepare(None, tmp_path)
    path.write_text(">a\nACGU\n>b\nACG\n>c\nGGGG\n")
    with pytest.raises(InputError, match="rows of several lengths; align them first"):
        AlignmentStudy(data=AlignmentFile(path)).prepare(None, tmp_path)


@pytest.mark.parametrize("kind", ["structure", "proteins"])
def test_from_an_alignment_to_metrics_and_files(tmp_path: Path, kind: str) -> None:
    """With a consensus structure, and of proteins without; samples here are rows of the family itself."""
    rows = hairpins(80)
    if kind == "proteins":
        rows = [row.replace("-", "A").translate(str.maketrans("ACGU", "WLKE")) for row in rows]
    write_stockholm([f"s{i}" for i in range(80)], rows, HAIRPIN, tmp_path / "family.sto")
    study = AlignmentStudy(data=AlignmentFile(tmp_path / "family.sto", held_out=0.2))
    study.prepare(None, tmp_path)
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["letters"] == ("ACGU-" if kind == "structure" else "ACDEFGHIKLMNPQRSTVWY")
    assert meta["columns"] == list(range(1, 14 if kind == "structure" else 15))  # the last one is nearly empty
    kept = [load_tensors(tmp_path / f"{split}.safetensors")["x"] for split in ("train", "val", "test")]
    assert sum(map(len, kept)) == sum(meta["rows"].values()) <= 80
    assert not set(map(tuple, kept[2].tolist())) & set(map(tuple, kept[0].tolist()))
    x = Alphabet(meta["letters"]).encode([row[: len(meta["columns"])] for row in rows[:30]])
    samples = Samples(x, None, 1, test_logp=torch.full((len(kept[2]),), -20.0))
    study.write(samples, tmp_path, tmp_path)
    written = read_family(tmp_path / "samples.sto")
    assert written.structure == (HAIRPIN[:13] if kind == "structure" else None)
    assert written.sequences == read_family(tmp_path / "samples.fasta").sequences
    evaluation = study.evaluate(samples, tmp_path)
    assert evaluation.metrics["log_likelihood"].value == pytest.approx(-20 / len(meta["columns"]))
    assert set(evaluation.figures) == set(evaluation.captions)
    assert {"logo", "covariances", "novelty"} <= set(evaluation.figures)
    if kind == "structure":
        assert evaluation.metrics["pairing"].value == 1
        assert evaluation.metrics["pairing"].floor < 0.6
        assert {"structure", "pairs"} <= set(evaluation.figures)
        axes, scale = evaluation.figures["structure"].axes
        assert axes.get_xlim() == (0.5, 13.5)
        assert scale.get_ylim() == (0, 1)
        assert "numbered from 1" in evaluation.captions["structure"]
    else:
        assert not {"pairing", "gap_agreement"} & set(evaluation.metrics)
    assert meta["family"] == "family"
    assert all(ax.get_legend() for ax in evaluation.figures["novelty"].axes)
    assert f"{len(kept[2])} held-out rows" in evaluation.captions["novelty"]


def test_through_the_pipeline(tmp_path: Path) -> None:
    """From a file to a report by settings; the samples are written with what was prepared."""
    write_stockholm([f"s{i}" for i in range(40)], hairpins(40), HAIRPIN, tmp_path / "family.sto")
    tiny = ["model.width=8", "model.heads=1", "model.depth=1", "trainer.steps=2", "trainer.batch_size=8"]
    tiny += ["sampler.n=6", "sampler.steps=2", "data.held_out=0.2", "likelihood=true"]
    config = load_config("trna", [*tiny, f"data.path={tmp_path / 'family.sto'}"])
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    metrics = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path / "report").metrics
    assert (tmp_path / "samples" / "samples.sto").read_text().count("sample_0000") == 6
    assert {"pairing", "pairing_autoregressive", "covariance", "log_likelihood"} <= set(metrics)


@pytest.mark.skipif("SCIFLOW_MIRROR" not in os.environ, reason="SCIFLOW_MIRROR names no folder")
@pytest.mark.parametrize(
    ("name", "rows", "columns", "pairs", "real", "alone"),
    [("tRNA", 965, 119, 21, 0.964, 0.517), ("5S_rRNA", 690, 231, 34, 0.919, 0.653)],
)
def test_families_of_the_mirror(name: str, rows: int, columns: int, pairs: int, real: float, alone: float) -> None:
    """How often letters pair at consensus pairs, in the files and where columns know nothing of each other."""
    found = read_family(Path(os.environ["SCIFLOW_MIRROR"]) / "rna_families" / f"{name}.sto")
    assert found.aligned is not None
    assert (len(found.aligned), len(found.aligned[0])) == (rows, columns)
    assert found.structure is not None
    paired = torch.tensor(consensus_pairs(found.structure))
    assert len(paired) == pairs
    x = Alphabet("ACGU-").encode(found.aligned)
    profile = Autoregressive.independent(x, 5, 1.0).sample(2000, step_generator(0))
    shares = [
        float(bond.sum() / both.sum()) for bond, both in (Alignment(s, "ACGU-", paired).bonds for s in (x, profile))
    ]
    assert shares[0] == pytest.approx(real, abs=0.0005)
    assert shares[1] == pytest.approx(alone, abs=0.01)  # three standard errors of 2000 rows
