"""Families of sequences: laws of the network and of the profile HMM, and a study from file to report."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sciflow.errors import InputError
from sciflow.pipeline import evaluate, load_config, prepare, sample, train
from sciflow.rng import sample_generators, step_generator
from sciflow.sequences.alphabet import NOTHING, encode, letters
from sciflow.sequences.family_metrics import Sequences, family_figures
from sciflow.sequences.family_model import FamilyModel, FamilyTransformer
from sciflow.sequences.family_network import SequenceSetTransformer
from sciflow.sequences.files import read_families, read_family
from sciflow.sequences.identity import edit_distances
from sciflow.sequences.profile_hmm import ProfileHMM

TINY = ["model.width=8", "model.depth=1", "model.heads=1", "model.context=3"]
FAMILY = [
    "GGCAUCG-UA",
    "GGCAUCGAUA",
    "G-CAUCG-CC",
    "AGCUUCG-CU",
    "AGCUUCGGCU",
    "CCCAAAG-GA",
    "UU-AGGGCGA",
    "UUUAGGGCGA",
]


def every(symbols: str, longest: int) -> Tensor:
    """All sequences of up to ``longest`` letters, encoded."""
    words = ["".join(w) for n in range(longest + 1) for w in itertools.product(symbols, repeat=n)]
    return encode(words, longest + 1)


@pytest.fixture
def network() -> SequenceSetTransformer:
    """Of two letters, far from where its weights start, in float64."""
    torch.manual_seed(0)
    net = SequenceSetTransformer(torch.tensor([True, True, False]), width=16, depth=2, heads=2).double().eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return net


CONTEXT = torch.tensor([[0, 1, 1, 0, 3, 3], [1, 3, 3, 3, 3, 3], [0, 0, 1, 1, 1, 3], [3, 3, 3, 3, 3, 3]])


def test_a_context_is_a_set(network: SequenceSetTransformer) -> None:
    """Its order, its padding and homologues that are hidden change nothing; those that are seen do."""
    x = torch.tensor([[0, 1, 0, 3], [1, 1, 3, 3]])
    seen = torch.tensor([[True, True, True, False]]).expand(2, -1)

    def score(context: Tensor, visible: Tensor) -> Tensor:
        logp = network(x, network.remember(context[None]), visible)
        return logp.gather(2, x[..., None])

    found = score(CONTEXT, seen)
    order = torch.tensor([2, 3, 0, 1])
    torch.testing.assert_close(score(CONTEXT[order], seen[:, order]), found, rtol=0, atol=1e-10)
    wider = torch.nn.functional.pad(CONTEXT, (0, 3), value=3)
    torch.testing.assert_close(score(wider, seen), found, rtol=0, atol=1e-10)
    torch.testing.assert_close(score(CONTEXT[:3], seen[:, :3]), found, rtol=0, atol=1e-10)
    assert (score(CONTEXT, ~seen) - found).abs().max() > 1e-4
    assert (score(CONTEXT[:, [1, 0, 2, 3, 4, 5]], seen) - found).abs().max() > 1e-4


def test_all_sequences_share_one(network: SequenceSetTransformer) -> None:
    """Those of up to three letters, and the ones that begin with three and have not ended, have probability one."""
    x = every("AC", 3)
    x = torch.where(x == NOTHING, 3, x)
    logp = network(x, network.remember(CONTEXT[None]), torch.ones(len(x), 4, dtype=torch.bool))
    taken = logp.gather(2, x[..., None])[..., 0]
    length = (x < 3).sum(1)
    upto = torch.arange(4) < length[:, None]
    begun = taken.masked_fill(~upto, 0).sum(1).exp()
    ended = begun * taken.gather(1, length[:, None])[:, 0].exp()
    more = begun[length == 3] - ended[length == 3]
    torch.testing.assert_close(ended.sum() + more.sum(), torch.ones((), dtype=torch.float64), rtol=0, atol=1e-12)
    assert not logp[..., 2].exp().any()  # a letter that does not occur


def test_stored_keys_give_the_same(network: SequenceSetTransformer) -> None:
    x = torch.tensor([[0, 1, 0, 3], [1, 1, 3, 3]])
    seen = torch.tensor([[True, False, True, True], [True, True, True, False]])
    memory = network.remember(torch.stack([CONTEXT, CONTEXT.flip(0)]))
    whole = network(x, memory, seen)
    room = network.room(2, 4, memory)
    before = None
    for place in range(4):
        step = network.resume(before, place, memory, seen, room)
        torch.testing.assert_close(step, whole[:, place], rtol=0, atol=1e-12)
        before = x[:, place]


@pytest.fixture
def model() -> FamilyModel:
    """Eight sequences of two families, four clusters each."""
    torch.manual_seed(1)
    known = {
        "x": encode([row.replace("-", "") for row in FAMILY], 11),
        "family": torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]),
        "cluster": torch.tensor([0, 0, 1, 2, 3, 4, 5, 5]),
    }
    built = FamilyTransformer(width=16, depth=1, heads=2, context=2).build(known).double().eval()
    for p in built.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return built


def test_samples_follow_their_density(model: FamilyModel) -> None:
    """Sample i is the same in any batch; its log-density is that of its law given its homologues."""
    cond = {"family": torch.tensor([0, 1] * 4)}
    whole = model.sample(8, cond, sample_generators(3, 0, 8))
    part = model.sample(3, {"family": cond["family"][4:7]}, sample_generators(3, 4, 3))
    assert torch.equal(whole.x[4:7], part.x)  # type: ignore[index]
    torch.testing.assert_close(whole.logq[4:7], part.logq)  # type: ignore[index]
    model.context = 4  # all of a family: the context is the same, whatever was drawn
    drawn = model.sample(200, None, step_generator(0))
    ended = (drawn.x < NOTHING).sum(1) < model.longest  # type: ignore[operator]
    assert ended.sum() > 50
    logp = model.log_prob(drawn.x, None)
    torch.testing.assert_close(logp[ended], drawn.logq[ended], rtol=0, atol=1e-8)  # type: ignore[index]


def test_a_sequence_never_sees_its_cluster(model: FamilyModel) -> None:
    """Nor another family: its density stays when those are changed, and not when others are."""
    row = {"x": model.known_x[:1].clone(), "family": torch.tensor([0]), "cluster": torch.tensor([0])}
    model.context = 8

    @torch.no_grad()
    def loss(changed: list[int]) -> Tensor:
        kept = model.known_x.clone()
        model.known_x[changed] = model.known_x[changed].sort(1).values
        found = torch.cat([model.loss(row, step_generator(k)) for k in range(8)])  # of which some hide it by chance
        model.known_x.copy_(kept)
        return found

    assert torch.equal(loss([0, 1, 4, 5, 6, 7]), loss([]))
    assert not torch.equal(loss([2, 3]), loss([]))


def hmm(columns: int) -> ProfileHMM:
    """Of the letters A and C, with probabilities of chance."""
    generator = torch.Generator().manual_seed(columns)
    to = torch.rand(columns + 1, 3, 3, generator=generator, dtype=torch.float64)
    to[-1, :, 2] = 0
    letters_ = torch.zeros(columns + 1, NOTHING, dtype=torch.float64)
    letters_[:, :2] = torch.rand(columns + 1, 2, generator=generator, dtype=torch.float64)
    to, letters_ = to / to.sum(-1, keepdim=True), letters_ / letters_.sum(-1, keepdim=True)
    return ProfileHMM(to.log(), letters_[1:].log(), letters_[0].log())


def walked(h: ProfileHMM, word: list[int], k: int = 0, state: int = 0) -> float:
    """The probability of the rest of a word, by following every path."""
    to, match, insert = (t.exp() for t in (h.transitions, h.match, h.insert))
    last = k == len(match)
    total = float(to[k, state, 0]) if last and not word else 0.0
    if word:
        total += float(to[k, state, 1] * insert[word[0]]) * walked(h, word[1:], k, 1)
        total += 0 if last else float(to[k, state, 0] * match[k, word[0]]) * walked(h, word[1:], k + 1, 0)
    return total + (0 if last else float(to[k, state, 2]) * walked(h, word, k + 1, 2))


@pytest.mark.parametrize("columns", [0, 1, 2, 3])
def test_forward_algorithm_is_the_sum_over_paths(columns: int) -> None:
    h, x = hmm(columns), every("AC", 3)
    paths = [walked(h, [k for k in row if k < NOTHING]) for row in x.tolist()]
    torch.testing.assert_close(h.log_prob(x).exp(), torch.tensor(paths, dtype=torch.float64), rtol=1e-12, atol=0)
    assert float(h.log_prob(encode(["AG"], 3))[0]) == -math.inf


def test_expected_letters_are_posteriors() -> None:
    """Σ over sequences of p(x) E[letters | x] is what columns emit; without insertions lengths are bounded."""
    h = hmm(3)
    to = h.transitions.exp()
    to[:, :, 1] = 0
    h = ProfileHMM((to / to.sum(-1, keepdim=True)).log(), h.match, h.insert)
    x = every("AC", 3)
    p = h.log_prob(x).exp()
    torch.testing.assert_close(p.sum(), torch.ones((), dtype=torch.float64))
    emitted = sum(w * h.expected(row[None]) for w, row in zip(p, x, strict=True))
    matched, there = torch.eye(3, dtype=torch.float64)[0], []
    for k in range(3):
        matched = matched @ h.transitions[k].exp()
        there.append(matched[0])
    torch.testing.assert_close(emitted, torch.stack(there)[:, None] * h.match.exp())


def test_profiles_of_an_alignment() -> None:
    """Fitted with hardly any pseudocounts: frequencies of the columns, as counted by hand; densities sum to one."""
    aligned, weights = encode(["A-C", "AGC", "C--", "A-C"], 3), torch.tensor([1.0, 1, 1, 1])
    fitted = ProfileHMM.fit(aligned, weights, 1e-9)
    p = fitted.log_prob(encode(["AC", "AGC", "C"], 4)).exp()
    # two match columns; A or C first; then an insertion once in four, or a deletion; the letters inserted are of all
    background = (1 + 1) / (8 + 4)
    by_hand = torch.tensor([0.75 * 0.5, 0.75 * 0.25 * background, 0.25 * 0.25], dtype=torch.float64)
    torch.testing.assert_close(p, by_hand, rtol=1e-6, atol=0)
    x = every("ACGT", 3)
    alone = ProfileHMM.independent(aligned, weights, 0.5)
    torch.testing.assert_close(alone.log_prob(x).exp().sum(), torch.ones((), dtype=torch.float64))
    geometric = ProfileHMM.letters(encode(["A", "CC", "GGG"], 4), torch.ones(3))
    lengths = torch.arange(4.0).double()
    of_lengths = torch.stack(
        [geometric.log_prob(every("ACGT", 3)[(x < NOTHING).sum(1) == n]).exp().sum() for n in range(4)]
    )
    torch.testing.assert_close(of_lengths, (1 / 3) * (2 / 3) ** lengths)


def baselines(rows: list[str], clusters: list[int], val: list[str]) -> Sequences:
    """One aligned family, to be judged on ``val`` after a choice on it."""
    x = encode([row.replace("-", "") for row in rows], 6)
    known = {"x": x, "aligned": encode(rows, 4), "cluster": torch.tensor(clusters)}
    train = known | {"family": torch.zeros(len(rows), dtype=torch.long)}
    held = {"x": encode(val, 6), "family": torch.zeros(len(val), dtype=torch.long)}
    return Sequences(held["x"], held["family"], train, held, held, None, aligned=True)


def test_clusters_weigh_the_same_in_baselines() -> None:
    """However many copies of a sequence a cluster has."""
    once = baselines(["ACGA", "AC-A", "CCGU"], [0, 1, 2], ["ACGA", "CCA", "ACGGU"]).scores
    often = baselines(["ACGA", "AC-A", "CCGU", "CCGU", "CCGU"], [0, 1, 2, 2, 2], ["ACGA", "CCA", "ACGGU"]).scores
    assert set(once) == {"background", "profile", "hmm"}
    for name, found in often.items():
        torch.testing.assert_close(found, once[name], rtol=0, atol=1e-12)


def test_validation_chooses_the_pseudocount() -> None:
    """The best of three for what is like the family, and another for what is not."""
    rows, weights = ["ACGA", "ACGA", "ACGU"], torch.ones(3, dtype=torch.float64)
    for name, fit in (("profile", ProfileHMM.independent), ("hmm", ProfileHMM.fit)):
        chosen = []
        for val in (["ACGA"] * 4, ["GUAC"] * 4):
            found = float(baselines(rows, [0, 1, 2], val).scores[name].sum())
            each = [float(fit(encode(rows, 4), weights, p).log_prob(encode(val, 6)).sum()) for p in (0.3, 1.0, 3.0)]
            assert found == pytest.approx(max(each), rel=1e-12)
            chosen.append(each.index(max(each)))
        assert chosen == [0, 2]


def test_figures_have_few_bins_and_a_diagonal() -> None:
    """Lengths of a broad range; likelihoods of which the model's spread far more than the baselines'."""
    s = baselines(["ACGA", "AC-A", "CCGU"], [0, 1, 2], ["ACGA", "CCA", "ACGGU"])
    s.logp = torch.tensor([-40.0, -3.0, -9.0])
    s.x = encode(["A" * 400, "C", "AC"], 401)
    nearest = {name: np.array([0.5, 0.7]) for name in ("samples", "held out")}
    figures, captions = family_figures(s, nearest)
    for ax in figures["likelihoods"].axes:
        assert (ax.get_xlim(), ax.get_aspect()) == (ax.get_ylim(), 1)
    (lengths,) = figures["lengths"].axes
    edges = np.unique(np.concatenate([patch.get_xy()[:, 0] for patch in lengths.patches]))
    assert 20 < len(edges) - 1 <= 40
    assert (edges.min(), edges.max() > 400) == (0.5, True)
    assert "in bins of 10 letters" in captions["lengths"]


def test_edit_distances_are_levenshteins() -> None:
    def distance(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))

    words = ["", "A", "ACG", "CGA", "GGCA", "ACGCA"]
    pairs = list(itertools.product(words, words))
    a, b = (encode([pair[k] for pair in pairs], 6) for k in (0, 1))
    assert edit_distances(a, b).tolist() == [distance(*pair) for pair in pairs]


def test_formats_agree(tmp_path: Path) -> None:
    """One alignment in four formats."""
    rows = {"s1": "GG-AU", "s2": "G-CAU", "s3": "GGCA-"}
    texts = {
        "a.fa": "".join(f">{n} text\n{r[:3]}\n{r[3:]}\n" for n, r in rows.items()),
        "a.sto": "# STOCKHOLM 1.0\n#=GF ID a\n"
        + "".join(f"{n} {r[:2].replace('-', '.')}\n" for n, r in rows.items())
        + "\n"
        + "".join(f"{n} {r[2:]}\n" for n, r in rows.items())
        + "//\n",
        "a.a3m": ">s1\nGGAU\n>s2\nG-cAU\n>s3\nGGcA-\n",
        "a.a2m": ">s1\nGG.AU\n>s2\nG-cAU\n>s3\nGGcA-\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        (found,) = read_families(tmp_path / name)
        assert found.names == list(rows)
        assert found.aligned == list(rows.values()), name
        assert found.sequences == ["GGAU", "GCAU", "GGCA"]
    (tmp_path / "plain.fa").write_text(">a\nMKVL\n>b\nMKV\n>c\nMKVX\n>d\nmkv\n")
    (plain,) = read_families(tmp_path / "plain.fa")
    assert plain.aligned is None
    assert plain.sequences == ["MKVL", "MKV"]
    assert sorted(plain.dropped.values()) == [1, 1]
    assert letters(encode(plain.sequences, 5)) == plain.sequences


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no sequences"),
        ("GGCAU\n", "neither FASTA"),
        (">a\nGGCAU\n", "1 distinct sequences in 1 clusters"),
        (">a\nMKX\n>b\nMBL\n", "all 2 sequences have ambiguous letters"),
        (">a\nGGCAU\n>b\nCCGUA\n", "2 distinct sequences in 2 clusters"),
        (">a\nGG-AU\n>b\nGGCAU\n>c\nGG-A\n", "c has 4 columns, most others 5"),
        (">a\nMKV1L\n>b\nMKVLL\n", "a has the letter '1'"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.fa").write_text(text)
    config = load_config("sequence_family", [f"data.path={tmp_path / 'bad.fa'}"])
    with pytest.raises(InputError, match=says) as caught:
        prepare(config, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert "bad" in str(caught.value)


def test_files_that_are_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder; give a file"):
        read_family(tmp_path)
    (tmp_path / "a.csv").write_text("name,seq\na,GGCAU\n")
    with pytest.raises(InputError, match="no column sequence; its columns are name, seq; rename one"):
        read_family(tmp_path / "a.csv")


@pytest.mark.parametrize("aligned", [True, False])
def test_from_a_file_to_a_report(tmp_path: Path, aligned: bool) -> None:
    """A family of proteins with its alignment; and two without, with sequences of the user's to be scored for one."""
    folder = tmp_path / "families"
    folder.mkdir()
    rows = [row.translate(str.maketrans("ACGU", "WLKE")) for row in FAMILY]
    fasta = "".join(f">s{i}\n{row}\n" for i, row in enumerate(rows))
    one_file, two_file = folder / "one of two.fa", folder / "two.fa"
    one_file.write_text(fasta if aligned else fasta.replace("-", ""))
    if not aligned:
        two_file.write_text(fasta.replace("-", "").replace("W", "Y").replace("L", "F"))
    overrides = [*TINY, f"data.path={folder}", "data.identity=0.95", "data.held_out=0.2", "trainer.steps=2", "n=4"]
    config = load_config("sequence_family", overrides)
    data, weights, drawn = (tmp_path / name for name in ("data", "model", "samples"))
    prepare(config, data)
    train(config, data, weights)
    samples = sample(config, data, weights, drawn)
    evaluation = evaluate(config, data, drawn, tmp_path / "report")
    meta = json.loads((data / "meta.json").read_text())
    parts = [set((data / f"{s}.fasta").read_text().splitlines()[1::2]) for s in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 8 * len(meta["families"])
    names = ["one_of_two"] * 4 if aligned else ["one_of_two", "two"] * 2
    headers = (drawn / "samples.fasta").read_text().splitlines()[::2]
    assert headers == [f">{i:05d} family={name}" for i, name in enumerate(names)]
    scores = (drawn / "scores.csv").read_text().splitlines()[1:]
    assert [float(line.split(",")[1]) for line in scores] == pytest.approx(samples.test_logp.tolist(), abs=1e-3)  # type: ignore[union-attr]
    assert {"log_likelihood_model", "gain_over_background", "copies", "unique"} <= set(evaluation.metrics)
    assert ("gain_over_hmm" in evaluation.metrics) == aligned == ("profile" in evaluation.figures)
    own = tmp_path / "mine.fa"
    own.write_text(">variant\nWLKEWLK\n")
    one = load_config("sequence_family", [*overrides, f"data.path={one_file}", f"data.test={own}"])
    prepare(one, tmp_path / "other")
    assert (tmp_path / "other" / "test.fasta").read_text() == ">variant\nWLKEWLK\n"
    own.write_text(">variant\nWLKFWLK\n")
    with pytest.raises(InputError, match=r"mine\.fa: has the letter F"):
        prepare(one, tmp_path / "refused")
