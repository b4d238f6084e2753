"""Promoters and enhancers: files as their official sources have them, in small, one's own, and what is refused."""

import gzip
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from sciflow.alphabets import DNA
from sciflow.errors import InputError
from sciflow.pipeline import evaluate, load_config, prepare, sample, train
from sciflow.sequences import EnhancerStudy, PromoterStudy
from sciflow.sequences.alphabet import Alphabet
from sciflow.sequences.dna import DnaFiles, Judged, Regions
from sciflow.sequences.enhancer import _frechet
from sciflow.sequences.genome import BigWig
from sciflow.sequences.identity import hamming
from sciflow.sequences.promoter import _found
from sciflow.sequences.spectra import jensen_shannon, shuffled, words
from sciflow.training import load_tensors

from .test_genome import write_bigwig

TINY = ["trainer.steps=4", "trainer.batch_size=8", "model.width=16", "model.depth=1", "n=12", "sampler.steps=3"]
TINY += ["evaluation.word=2", "evaluation.compared=5", "model.path=masking"]
LENGTH = 400


def test_words_are_counted_where_sequences_are_real() -> None:
    x = Alphabet(DNA).encode(["ACGTAC", "TTAAAA"])
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    counts = words(x, 4, 2, mask)
    assert counts.sum(1).tolist() == [5, 2]
    assert [int(counts[0, 4 * a + b]) for a, b in ((0, 1), (1, 2), (2, 3), (3, 0))] == [2, 1, 1, 1]
    assert words(shuffled(x), 4, 1).equal(words(x, 4, 1))
    kept = shuffled(x, mask)
    assert words(kept, 4, 1, mask).equal(words(x, 4, 1, mask))
    ends = torch.tensor([0, 1]), torch.tensor([3, 0])
    assert jensen_shannon(*ends) == pytest.approx(np.log(2))
    assert jensen_shannon(ends[0], 5 * ends[0]) == 0


def test_a_word_begins_where_a_regular_expression_finds_it() -> None:
    x = torch.randint(4, (40, 60), generator=torch.Generator().manual_seed(0))
    found = _found(x, "T A AT CT").nonzero().tolist()
    rows = Alphabet(DNA).decode(x)
    assert found == [[i, m.start()] for i, row in enumerate(rows) for m in re.finditer("(?=TA[AT][CT])", row)]


def test_the_distance_of_normal_laws_is_frechets() -> None:
    """Of N(μ, s²) in each dimension: Σ (Δμ² + (s − s')²); zero from a law to itself."""
    g = torch.Generator().manual_seed(0)
    a = torch.randn(50, 3, generator=g, dtype=torch.float64)
    moved = a * torch.tensor([1.0, 2.0, 0.5]) + torch.tensor([0.0, 1.0, -3.0])
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(a.T.cov()), (a - a.mean(0)).T, upper=False).T
    assert _frechet(a, a) == pytest.approx(0, abs=1e-10)
    assert _frechet(white, 2 * white + 1) == pytest.approx(3 + 3, abs=1e-9)
    assert _frechet(a, moved) == pytest.approx(_frechet(moved, a), rel=1e-9)


@pytest.fixture
def promoters(tmp_path: Path) -> Path:
    """Two chromosomes of chance with a start of transcription every few bases, as the official archive has them."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "raw" / "promoter"
    folder.mkdir(parents=True)
    genome = {name: "".join(rng.choice(list(DNA), LENGTH)) for name in ("1", "8", "10")}
    (folder / "Homo_sapiens.GRCh38.dna.primary_assembly.fa").write_text(
        "".join(f">{name} dna\n{row}\n" for name, row in genome.items())
    )
    for i, strand in enumerate(("plus", "minus")):
        signals = {f"chr{name}": rng.random(LENGTH).astype(np.float32) for name in genome}
        write_bigwig(folder / f"agg.{strand}.bw.bedgraph.bw", signals)
        with gzip.open(folder / f"fantom.blacklist8.{strand}.bed.gz", "wt") as file:
            file.write(f"chr1\t{100 + 50 * i}\t{110 + 50 * i}\n")
    starts = [(f"chr{name}", place, strand) for name in genome for place in range(5, LENGTH, 40) for strand in "+-"]
    rows = "".join(f"{chrom}\t{place}\tx\t{strand}\n" for chrom, place, strand in starts)
    (folder / "FANTOM_CAT.lv3_robust.tss.sortedby_fantomcage.hg38.v4.tsv").write_text(f"chr\tTSS\tid\tstrand\n{rows}")
    return folder


def test_promoters_are_read_from_their_strand_with_its_signal(promoters: Path) -> None:
    """The base after the start is the middle; both strands of one place are each other's reverse complement."""
    length = 16
    found = PromoterStudy(length=length).read(promoters.parent)
    inside = [p for p in range(5, LENGTH, 40) if p - length // 2 >= 0 and p + length // 2 + 1 <= LENGTH]
    assert len(found.x) == 6 * len(inside)
    assert found.dropped.total() == 60 - len(found.x)
    assert [found.split.count(name) for name in ("train", "test", "val")] == [2 * len(inside)] * 3
    genome = (promoters / "Homo_sapiens.GRCh38.dna.primary_assembly.fa").read_text().split("\n")[1]
    plus, minus = (BigWig(promoters / f"agg.{s}.bw.bedgraph.bw").values("chr1", 0, LENGTH) for s in ("plus", "minus"))
    for values in (plus, minus):
        values[100:110] = values[150:160] = 0
    rows = Alphabet(DNA).decode(found.x)
    for i, place in enumerate(inside):
        low = place - length // 2
        assert rows[2 * i] == genome[low : low + length]
        back = genome[low + 1 : low + 1 + length]
        assert rows[2 * i + 1] == back[::-1].translate(str.maketrans("ACGT", "TGCA"))
        np.testing.assert_array_equal(found.condition[2 * i, :, 0], plus[low : low + length])
        np.testing.assert_array_equal(found.condition[2 * i + 1, :, 0], minus[low + 1 : low + 1 + length][::-1])


class Activity(torch.nn.Module):
    """The share of A."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1].mean(-1)


def oracle(path: Path, length: int) -> Path:
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(Activity(), (torch.zeros(2, 4, length),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return path


def test_an_oracle_is_heard_and_none_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the share of A: samples are all A (1), real ones have a half or none."""
    test = Alphabet(DNA).encode(["AACC" * 20, "CGCG" * 20])
    splits = {"test": {"x": test}, "train": {"x": test}}
    metrics = PromoterStudy().judge(torch.zeros_like(test), torch.zeros(2, 80, 1), splits)
    assert "sp_mse" not in metrics
    assert capsys.readouterr().err.count("\n") == 1
    study = PromoterStudy(evaluation=Judged(oracle=oracle(tmp_path / "oracle.pt2", 80)))
    metrics = study.judge(torch.zeros_like(test), torch.zeros(2, 80, 1), splits)
    assert metrics["sp_mse"].value == pytest.approx((0.5**2 + 1) / 2)
    assert metrics["sp_mse"].floor in (pytest.approx(0.25), pytest.approx(0))
    (tmp_path / "other.pt2").write_text("nothing")
    with pytest.raises(InputError, match=r"other\.pt2: does not judge \(2, 80\) letters"):
        PromoterStudy(evaluation=Judged(oracle=tmp_path / "other.pt2")).judge(test, torch.zeros(2, 80, 1), splits)


def pickled(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def test_enhancers_are_arrays_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(4, size=(9, 12)), rng.integers(3, size=9)
    parts = {"train": slice(0, 5), "valid": slice(5, 7), "test": slice(7, 9)}
    arrays = {f"{name}_data": np.eye(4)[x[rows]] for name, rows in parts.items()}
    arrays |= {f"y_{name}": np.eye(3)[y[rows]] for name, rows in parts.items()}
    path = tmp_path / "enhancer" / "DeepFlyBrain_data.pkl"
    pickled(path, arrays)
    found = EnhancerStudy().read(tmp_path)
    assert found.x.equal(torch.from_numpy(x))
    assert found.condition.equal(torch.from_numpy(y))
    assert found.split == ["train"] * 5 + ["val"] * 2 + ["test"] * 2
    pickled(path, {**arrays, "extra": Path("home")})
    with pytest.raises(InputError, match=r"it holds pathlib.*; it is not read further"):
        EnhancerStudy().read(tmp_path)
    for damaged in (b"\x80\x04]}R.", b"c_codecs\nencode\n(Va\nVnone\ntR."):  # TypeError, LookupError
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="not a dictionary of arrays"):
            EnhancerStudy().read(tmp_path)
    del arrays["y_valid"]
    pickled(path, arrays)
    with pytest.raises(InputError, match="has no array y_valid"):
        EnhancerStudy().read(tmp_path)


def own(tmp_path: Path, n: int = 40, length: int = 24) -> tuple[Path, list[str]]:
    rng = np.random.default_rng(3)
    rows = ["".join(rng.choice(list(DNA), length)) for _ in range(n)]
    path = tmp_path / "mine.fasta"
    path.write_text("".join(f">s{i} more\n{row}\n" for i, row in enumerate(rows)))
    return path, rows


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,label\ns0,a\ns1,b\ns0,b\n", r"s0 has several rows \(and 0 more"),
        ("name,label\ns0,a\n", r"no row of the name s1 \(and 38 more"),
        ("name,kind\n" + "".join(f"s{i},a\n" for i in range(40)), "columns kind; give name, label"),
        ("name,label\n" + "".join(f"s{i},a\n" for i in range(40)), "one label, a; classes are two or more"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, table: str, message: str) -> None:
    path, _ = own(tmp_path)
    (tmp_path / "table.csv").write_text(table)
    with pytest.raises(InputError, match=message) as error:
        EnhancerStudy(data=DnaFiles(path, tmp_path / "table.csv"))._own()
    assert "\n" not in str(error.value)


def test_groups_stay_in_one_split(tmp_path: Path) -> None:
    path, _ = own(tmp_path)
    rows = "".join(f"s{i},{'ab'[i % 2]},chr{i % 5}\n" for i in range(40))
    (tmp_path / "table.csv").write_text(f"name,label,group\n{rows}")
    EnhancerStudy(data=DnaFiles(path, tmp_path / "table.csv", 0.2)).prepare(None, tmp_path)
    parts = [load_tensors(tmp_path / f"{split}.safetensors")["x"] for split in ("train", "val", "test")]
    index = {tuple(row.tolist()): i for i, row in enumerate(Alphabet(DNA).encode(own(tmp_path)[1]))}
    groups = [{index[tuple(row)] % 5 for row in part.tolist()} for part in parts]
    assert sorted(map(len, groups)) == [1, 1, 3]
    assert set.union(*groups) == set(range(5))


def mutants(tmp_path: Path, families: int = 20) -> Path:
    """Four of a family in labelled rows, one letter or none in thirty apart from their ancestor."""
    rng, rows = np.random.default_rng(0), ["name,sequence,label"]
    for i in range(families):
        ancestor = rng.choice(list(DNA), 30)
        for j in range(4):
            one = ancestor.copy()
            one[7 * j] = DNA[(DNA.index(one[7 * j]) + 1) % 4]
            rows.append(f"f{i}_{j},{''.join(one)},{'ab'[j % 2]}")
    path = tmp_path / "mutants.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_those_that_are_alike_are_in_one_split_without_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = EnhancerStudy(data=DnaFiles(mutants(tmp_path), held_out=0.2))
    study.prepare(None, tmp_path)
    train, test = (load_tensors(tmp_path / f"{split}.safetensors")["x"] for split in ("train", "test"))
    assert len(test) == 16
    assert hamming(test, train).min() > 6  # families are of chance
    assert not capsys.readouterr().err
    monkeypatch.setattr("sciflow.sequences.dna._MOST", 79)
    study.prepare(None, tmp_path)
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(InputError, match=r"study\.data\.identity=2 must be"):
        DnaFiles(identity=2)


def test_a_split_without_sequences_is_refused(tmp_path: Path) -> None:
    study = EnhancerStudy()
    x = torch.zeros(4, 10, dtype=torch.long)
    study.read = lambda raw: Regions(x, x[:, 0], ["train", "train", "val", "train"])  # type: ignore[method-assign]
    with pytest.raises(InputError, match="no sequence of the test split is left"):
        study.prepare(tmp_path, tmp_path)


@pytest.mark.e2e
@pytest.mark.parametrize("study", ["enhancer", "promoter"])
def test_from_ones_own_files_to_designs(tmp_path: Path, study: str) -> None:
    path, rows = own(tmp_path, length=128)
    table = ["name,label" if study == "enhancer" else "name," + ",".join(f"b{j}" for j in range(128))]
    signal = ",".join(str(j % 7) for j in range(128))
    table += [f"s{i},{'ab'[i % 2] if study == 'enhancer' else signal}" for i in range(len(rows))]
    (tmp_path / "table.csv").write_text("\n".join(table) + "\n")
    config = load_config(study, [*TINY, f"data.path={path}", f"data.table={tmp_path / 'table.csv'}"])
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    drawn = sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    metrics = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path).metrics
    assert {"words_2", "gc_distance", "nearest_train", "copies", "unique"} < metrics.keys()
    assert ({"class_told_by_words"} if study == "enhancer" else {"tata_box", "initiator"}) < metrics.keys()
    lines = (tmp_path / "samples" / "samples.fasta").read_text().splitlines()
    assert lines[1::2] == Alphabet(DNA).decode(drawn.x)
    assert {p.stem for p in (tmp_path / "figures").glob("*.png")} == {"words", "condition"}
