"""Planted motifs: a law that sums to one and that samples follow, files that say the same, metrics by the law."""

import itertools
import math
import os
from pathlib import Path

import pytest
import torch

from sciflow.errors import InputError
from sciflow.rng import sample_generators, step_generator
from sciflow.sequences import PosteriorFlow
from sciflow.sequences.motif_files import find_motif, read_motifs
from sciflow.sequences.motif_grammar import Block, MotifGrammar
from sciflow.sequences.motif_metrics import MotifJudge
from sciflow.sequences.motifs import MotifStudy, Planted, Steer, gc_oracle
from sciflow.training import Samples, load_tensors

F64 = torch.float64
BACKGROUND = torch.tensor([0.3, 0.2, 0.2, 0.3], dtype=F64)


def columns(width, seed):
    p = torch.rand(width, 4, generator=step_generator(seed), dtype=F64).pow(3) + 0.01
    return p / p.sum(-1, keepdim=True)


def grammar(length=5):
    first, second = columns(2, 0), columns(1, 1)
    pair = torch.cat([first, BACKGROUND[None], second])
    return MotifGrammar(BACKGROUND, (Block("one", first, ((0, 2),)), Block("two", pair, ((0, 2), (3, 1)))), length)


WORDS = torch.tensor(list(itertools.product(range(4), repeat=5)))


def test_the_law_sums_to_one():
    torch.testing.assert_close(grammar().log_prob(WORDS).exp().sum(0), torch.ones(2, dtype=F64), rtol=1e-12, atol=0)


def test_samples_follow_the_law():
    """Total variation over 1024 words, against its mean ½ Σ √(2p/πn) for n draws; it varies by less than a tenth."""
    n = 40_000
    law = grammar().log_prob(WORDS).exp()
    x = grammar().sample(torch.arange(2 * n) % 2, step_generator(2))
    for c in (0, 1):
        number = (x[c::2] * 4 ** torch.arange(4, -1, -1)).sum(-1)
        shares = number.bincount(minlength=len(WORDS)) / n
        expected = 0.5 * (2 * law[:, c] * (1 - law[:, c]) / math.pi / n).sqrt().sum()
        assert 0.5 * (shares - law[:, c]).abs().sum() < 1.1 * expected
        assert 0.5 * (shares - law[:, 1 - c]).abs().sum() > 3 * expected


def test_the_sum_over_places_is_that_of_the_formula():
    x, block = WORDS[37], grammar().blocks[1]
    total = 0.0
    for s in (0, 1):
        p = 1.0
        for place, letter in enumerate(x.tolist()):
            inside = s <= place < s + 4
            p *= float(block.columns[place - s, letter] if inside else BACKGROUND[letter])
        total += p / 2
    assert float(grammar().log_prob(x[None])[0, 1]) == pytest.approx(math.log(total), rel=1e-12)


def test_likelihoods_have_slopes():
    """Of one-hot letters as of tokens; the oracle of a class is then one for straight-through guidance."""
    hot = torch.nn.functional.one_hot(WORDS[:50], 4).to(F64).requires_grad_()
    found = grammar().log_prob(hot)
    torch.testing.assert_close(found, grammar().log_prob(WORDS[:50]))
    assert torch.autograd.grad(found.sum(), hot)[0].abs().sum() > 0


def test_false_positives_are_as_many_as_stated():
    """Among fresh background sequences, within 4 standard errors of both counts (5000 draws for the threshold)."""
    law, share = grammar(60), 0.05
    wide = columns(8, 3)
    threshold = law.threshold(wide, share, step_generator(4))
    x = torch.multinomial(BACKGROUND, 5000 * 60, True, generator=step_generator(5)).view(-1, 60)
    found = float((law.log_odds(x, wide).amax(1) > threshold).double().mean())
    assert abs(found - share) < 4 * math.sqrt(2 * share * (1 - share) / 5000)


COUNTS = torch.tensor([[4, 16, 0, 0], [19, 0, 1, 0], [0, 20, 0, 0]], dtype=F64)
FORMATS = {
    "transfac": "AC MA1\nXX\nID Arnt\nXX\nPO\tA\tC\tG\tT\n01\t4.0\t16.0\t0.0\t0.0\tC\n02\t19\t0\t1\t0\n"
    "03\t0\t20\t0\t0\nXX\n//\n",
    "jaspar": ">MA1 Arnt\nA [ 4 19 0 ]\nC [16 0 20 ]\nG [ 0 1 0 ]\nT [ 0 0 0 ]\n",
    "jaspar, bare": ">MA1\tArnt\n4 19 0\n16 0 20\n0 1 0\n0 0 0\n",
    "meme": "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF MA1 Arnt\n"
    "letter-probability matrix: alength= 4 w= 3 nsites= 20 E= 0\n 0.2 0.8 0 0\n 0.95 0.0 0.05 0\n0 1 0 0\nURL http://example.org/1\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(name, tmp_path):
    path = tmp_path / "motifs.txt"
    path.write_text(FORMATS[name])
    (motif,) = read_motifs(path)
    assert (motif.accession, motif.name) == ("MA1", "Arnt")
    torch.testing.assert_close(motif.counts, COUNTS)
    p = motif.probabilities(1.0)
    torch.testing.assert_close(p.sum(-1), torch.ones(3, dtype=F64))
    torch.testing.assert_close(p[0, 0], torch.tensor(4.25 / 21, dtype=F64))


BAD = {
    "no format": ("just words\n", "no matrices of TRANSFAC"),
    "three numbers": (FORMATS["transfac"].replace("19\t0\t1\t0", "19\t0\t1"), "place 2 of motif MA1"),
    "no counts": (FORMATS["transfac"].replace("19\t0\t1\t0", "0\t0\t0\t0"), "place 2 of motif MA1"),
    "negative": (FORMATS["jaspar"].replace("[ 0 1 0 ]", "[ 0 -1 0 ]"), "place 2 of motif MA1"),
    "uneven": (FORMATS["jaspar"].replace("[ 0 1 0 ]", "[ 0 1 ]"), "place 1 of motif MA1"),
    "five letters": (FORMATS["meme"].replace("0 1 0 0", "0 1 0 0 0"), "place 3 of motif MA1"),
    "no rows": (FORMATS["meme"].split(" 0.2")[0], "place 1 of motif MA1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(name, tmp_path):
    path, (text, told) = tmp_path / "motifs.txt", BAD[name]
    path.write_text(text)
    with pytest.raises(InputError, match=told) as error:
        read_motifs(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_folder_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="a folder; give a file"):
        read_motifs(tmp_path)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"classes": ["Nobody"]}, r"no motif Nobody; it has MA1; say study\.data\.classes=\[…\]$"),
        ({"classes": ["MA1+x+Arnt"]}, r"write MOTIF, or MOTIF\+LETTERS\+MOTIF"),
        ({"classes": ["MA1+3"]}, r"write MOTIF, or MOTIF\+LETTERS\+MOTIF"),
        ({"classes": ["MA1+3+arnt"], "length": 8}, "length=8: Arnt.3.Arnt has 9 places; raise it"),
        ({"classes": []}, "name a motif"),
        ({"gc": 1.0}, "gc=1.0 must lie between"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, told, tmp_path):
    (tmp_path / "motifs.txt").write_text(FORMATS["jaspar"])
    with pytest.raises(InputError, match=told) as error:
        MotifStudy(Planted(tmp_path / "motifs.txt", **settings)).prepare(None, tmp_path)
    assert "\n" not in str(error.value)


def test_a_name_of_several_motifs_asks_which(tmp_path):
    path = tmp_path / "motifs.txt"
    path.write_text(FORMATS["jaspar"] + FORMATS["jaspar"].replace("MA1", "MA2"))
    with pytest.raises(InputError, match="2 motifs arnt; say which: MA1, MA2"):
        find_motif(read_motifs(path), "arnt", path)
    assert find_motif(read_motifs(path), "MA2", path).accession == "MA2"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Classes that are easy to tell: eight sharp places, and two such motifs five letters apart."""
    out = tmp_path_factory.mktemp("motifs")
    rows = "".join(f">{name} {name}\n" + "\n".join(
        " ".join("97" if word[j] == letter else "1" for j in range(8)) for letter in "ACGT") + "\n"
        for name, word in {"left": "ACGTGGAC", "right": "TTGACCAT"}.items())  # fmt: skip
    (out / "motifs.txt").write_text(rows)
    study = MotifStudy(Planted(out / "motifs.txt", ["left", "left+5+right"], rows=500))
    study.prepare(None, out)
    return study, out


def test_the_law_judges_its_own_samples_as_held_out_ones(prepared):
    """Fresh samples of the law: every metric within 4 errors of its reference, and far from its floor."""
    study, data = prepared
    label = study.conditions(data, range(600))["label"]
    x = study.grammar(data).sample(label, step_generator(6))
    metrics = study.evaluate(Samples(x, None, 1, cond={"label": label}), data).metrics
    for name in ("motif_hits", "class_accuracy", "log_likelihood", "spacing", "gc_content"):
        m = metrics[name]
        assert abs(m.value - m.reference) < 4 * max(m.error, 1e-3) * math.sqrt(1.6), name  # 1000 held-out ones err too
    assert metrics["motif_hits"].value > 0.8
    assert metrics["motif_hits"].floor < 0.03
    assert metrics["spacing"].floor < 0.1
    assert metrics["copies"].value == 0
    assert abs(metrics["nearest_train"].value - metrics["nearest_train"].reference) < 1


def test_copies_and_collapse_are_told(prepared):
    study, data = prepared
    train = load_tensors(data / "train.safetensors")
    same = Samples(train["x"][:1].expand(200, -1), None, 1, cond={"label": train["label"][:1].expand(200)})
    metrics = study.evaluate(same, data).metrics
    assert metrics["copies"].value == 1
    assert metrics["diversity"].value == pytest.approx(0, abs=1e-12)
    assert metrics["diversity"].reference > 0.6


def test_the_divergence_of_a_density_is_from_the_law(prepared):
    """Of the law itself it is zero, of background letters its floor: the information of the motif."""
    study, data = prepared
    test, law = load_tensors(data / "test.safetensors"), study.grammar(data)
    own = law.log_prob(test["x"]).gather(1, test["label"][:, None])[:, 0]
    judge = MotifJudge(law, 0.01)
    assert judge.divergence(test["x"], test["label"], own).value == pytest.approx(0, abs=1e-12)
    m = judge.divergence(test["x"], test["label"], law.background.log()[test["x"]].sum(1))
    assert m.value == m.floor > 5


def test_diversity_is_the_mean_over_pairs():
    x = torch.randint(4, (7, 60), generator=step_generator(7))
    pairs = [float((a != b).double().mean()) for a, b in itertools.combinations(x, 2)]
    judge = MotifJudge(grammar(60), 0.01)
    assert judge.diversity(x, torch.zeros(7).long()) == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)


def test_synthetic_sequences_are_written_as_such(prepared, tmp_path):
    study, data = prepared
    test = load_tensors(data / "test.safetensors")
    study.write(Samples(test["x"][:3], None, 1, cond={"label": test["label"][:3]}), tmp_path, data)
    lines = (tmp_path / "samples.fasta").read_text().splitlines()
    names = ["left", "left+5+right", "left"]
    assert lines[::2] == [f">{i:05d} class={name} synthetic" for i, name in enumerate(names)]
    assert ["ACGT".index(c) for c in lines[1]] == test["x"][0].tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("found", [0, 1, 30])
def test_logos_of_too_few_say_so(prepared, found):
    """Of one sequence the correction for small samples leaves no height; a single sample has no error."""
    study, data = prepared
    law = study.grammar(data)
    x = torch.zeros(max(found, 1), law.length, dtype=torch.long)
    x[:found, :8] = law.blocks[0].columns.argmax(1)
    judge, label = MotifJudge(law, 0.01), torch.zeros(len(x), dtype=torch.long)
    assert judge.hits(x, label).sum() == found
    figure, _ = judge.logo_figure(x, label)
    assert [t.get_text() for t in figure.axes[1].texts] == ["too few"] * (found < 2)
    assert bool(figure.axes[1].patches) == (found > 1)
    if len(x) == 1:
        test = load_tensors(data / "test.safetensors")
        assert judge.metrics(x, label, test["x"], test["label"])["motif_hits"].error is None


def test_a_steered_study_reads_gc_beside_its_target(prepared):
    study, data = prepared
    test = load_tensors(data / "test.safetensors")
    steered = MotifStudy(study.data, Steer(gc=0.7))
    m = steered.evaluate(Samples(test["x"], None, 1, cond={"label": test["label"]}), data).metrics["gc_content"]
    assert m.reference == 0.7
    assert m.value == pytest.approx(m.floor)


def test_the_oracle_of_gc_is_highest_at_its_target():
    x = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 3], [1, 1, 2, 3], [1, 1, 2, 2]]), 4).to(F64)
    torch.testing.assert_close(gc_oracle(0.75)(x), torch.tensor([-12.5, 0, -12.5], dtype=F64))


@pytest.mark.skipif("SCIFLOW_MIRROR" not in os.environ, reason="reads the JASPAR matrices of the mirror")
def test_jaspar_is_read_whole(tmp_path):
    study = MotifStudy(Planted(rows=50))
    study.prepare(Path(os.environ["SCIFLOW_MIRROR"]), tmp_path)
    path = Path(os.environ["SCIFLOW_MIRROR"]) / "jaspar" / "JASPAR2024_CORE_vertebrates_non-redundant_pfms_transfac.txt"
    motifs = read_motifs(path)
    assert len(motifs) == len({m.accession for m in motifs}) == 879
    assert [b.name for b in study.grammar(tmp_path).blocks] == ["CTCF", "TP53", "SRF", "Nrf1", "SOX2+6+POU5F1"]


def test_an_untrained_model_is_steered_by_the_oracle(prepared):
    """Its letters are independent and uniform: with G + C of mean ½ and variance 1/4L, Bayes' rule is a normal law.

    The mean is ½ + 0.2 · v/(v + 0.05²), v = 1/4L. Particles reach it but for O(1/P); slopes go further, each site as if
    it were alone. Strength 0 is the unguided sample, bit by bit.
    """
    study, data = prepared
    flow = PosteriorFlow(network="cnn", width=8, depth=1, kernel=3)
    model = MotifStudy(study.data, Steer(gc=0.7), architecture=flow).model(data)
    cond, known = study.conditions(data, range(200)), {"steps": 16}

    def share(**settings):
        x = model.sample(200, cond, sample_generators(0, 0, 200), **known, **settings).x
        return x, float(((x == 1) | (x == 2)).double().mean())

    (plain, none), (same, _), (_, sloped), (_, chosen) = (
        share(), share(guidance=0.0), share(guidance=1.0), share(guidance=1.0, particles=32)
    )  # fmt: skip
    variance = 1 / (4 * plain.shape[1])
    exact = 0.5 + 0.2 * variance / (variance + 0.05**2)
    assert torch.equal(plain, same)
    assert none == pytest.approx(0.5, abs=4 * math.sqrt(variance / 200))
    assert chosen == pytest.approx(exact, abs=4 * math.sqrt(variance / 200) + 0.02)
    assert exact - 0.02 < sloped < 0.75
