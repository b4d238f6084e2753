"""Laws of pairs: what the flow made, what the study keeps, what training reads; the data stay the data."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command import sciflow

from sciflow import pipeline
from sciflow.errors import InputError
from sciflow.pipeline.config import Config, SamplerConfig, load_config
from sciflow.pipeline.outputs import digest
from sciflow.training import Samples, load_tensors

SPLITS = ("train", "val", "test")


@pytest.fixture
def trained(tiny: Config, tmp_path: Path) -> Path:
    pipeline.prepare(tiny, tmp_path / "data")
    pipeline.train(tiny, tmp_path / "data", tmp_path / "model")
    return tmp_path


def _rectify(config: Config, run: Path, out: str = "pairs", state: str = ".state") -> dict[str, torch.Tensor]:
    pipeline.rectify(config, run / "data", run / "model", run / out, run / state)
    parts = [load_tensors(run / out / f"pairs_{split}.safetensors") for split in ("val", "train")]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def test_pairs_are_sources_and_where_the_flow_takes_them(tiny: Config, trained: Path) -> None:
    pairs = _rectify(tiny, trained)
    mean = pipeline.load_model(tiny, trained / "data", trained / "model").mean
    torch.testing.assert_close(pairs["x"], mean.detach() + pairs["x0"])
    assert len(pairs["x0"].unique(dim=0)) == 40
    drawn = pipeline.sample(tiny, trained / "data", trained / "model", trained / "samples")
    assert not (drawn.x0[:, None] == pairs["x0"]).any()  # what is measured later was in no pair


def test_the_data_stay_the_data(tiny: Config, trained: Path) -> None:
    (trained / "data" / "tables").mkdir()
    (trained / "data" / "tables" / "more.csv").write_text("1")
    _rectify(tiny, trained)
    kept = [*(f"{split}.safetensors" for split in SPLITS), "tables/more.csv"]
    assert all(digest(trained / "pairs" / name) == digest(trained / "data" / name) for name in kept)
    meta = json.loads((trained / "pairs" / "meta.json").read_text())
    assert meta["units"] == "none"
    assert meta["pairs"] == {"drawn": 40, "kept": 40, "filter": "none", "nfe": 1}
    assert {name: digest(trained / "pairs" / name) for name in meta["sha256"]} == meta["sha256"]
    assert {"pairs_train.safetensors", "pairs_val.safetensors", "initial.safetensors"} < meta["sha256"].keys()


def test_a_study_keeps_what_it_likes(
    tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = _rectify(tiny, trained, "all")
    half = everything["x"][:, 0].median()
    study = type(tiny.study)
    monkeypatch.setattr(study, "keep", lambda self, samples, data: samples.x[:, 0] > half, raising=False)
    pairs = _rectify(tiny, trained)
    wanted = everything["x"][:, 0] > half
    assert torch.equal(pairs["x0"], everything["x0"][wanted])
    assert "rectify: 20 of 40 pairs kept (by a geometric filter, keep of the study)" in capsys.readouterr().err
    meta = json.loads((trained / "pairs" / "meta.json").read_text())
    assert meta["pairs"] == {"drawn": 40, "kept": 20, "filter": "GaussianStudy.keep, of the geometry alone", "nfe": 1}

    monkeypatch.setattr(study, "keep", lambda self, samples, data: samples.x[:, 0] > 1e6)
    monkeypatch.setattr(study, "rectify", SamplerConfig(), raising=False)  # any dataclass
    said = (
        r"0 of 40 pairs are kept, 10 are needed: draw more \(n=…\), or train longer; the filter is study\.rectify: n, b"
    )
    with pytest.raises(InputError, match=said):
        _rectify(tiny, trained, "none")
    assert not (trained / "none").exists()
    monkeypatch.setattr(study, "keep", lambda self, samples, data: samples.x[:, 0] < 1e6)
    with pytest.raises(InputError, match=r"4 of 4 pairs are kept, 10 are needed: draw more \(n=…\)$"):
        _rectify(replace(tiny, sampler=SamplerConfig(n=4, batch_size=4)), trained, "few")


def test_samples_are_conditioned_on_the_training_split(
    tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all conditions come with the pairs, but for the state that holds what is known: it is in the samples."""

    def conditions(study: object, data: Path, indices: range, split: str = "test") -> dict[str, torch.Tensor]:
        x = study.dataset(data, split).tensors["x"]
        return {"x": x[torch.tensor(indices) % len(x)], "number": torch.tensor(indices)}

    def sample(model: object, n: int, cond: dict[str, torch.Tensor], generator: object) -> Samples:
        return Samples(cond["x"], None, 1, x0=cond["x"] - 1)

    monkeypatch.setattr(type(tiny.study), "conditions", conditions, raising=False)
    monkeypatch.setattr(type(tiny.study.model(Path())), "sample", sample)
    pairs = _rectify(tiny, trained)
    train = tiny.study.dataset(trained / "data", "train").tensors["x"]
    assert torch.equal(pairs["x"], train.repeat(2, 1))
    assert pairs.keys() == {"x", "x0", "number"}
    assert pairs["number"].sort().values.equal(torch.arange(40))


def test_training_goes_on_from_the_weights_of_the_pairs(gaussian: str, tiny: Config, trained: Path) -> None:
    _rectify(tiny, trained)
    still = load_config(gaussian, ["trainer.steps=1", "trainer.lr=1e-30"])
    first = pipeline.load_model(tiny, trained / "data", trained / "model").mean.detach().cpu()
    second = pipeline.train(still, trained / "pairs", trained / "still").mean.detach().cpu()
    assert torch.equal(first, second)
    afresh = pipeline.train(still, trained / "data", trained / "afresh").mean.detach().cpu()
    assert first.abs().min() > afresh.abs().max()


def test_pairs_of_pairs(tiny: Config, trained: Path) -> None:
    """Of a model trained on pairs, beside the same data."""
    _rectify(tiny, trained)
    pipeline.train(tiny, trained / "pairs", trained / "model2")
    again = pipeline.rectify(tiny, trained / "pairs", trained / "model2", trained / "pairs2")
    second, first = (load_tensors(folder / "pairs_train.safetensors") for folder in (again, trained / "pairs"))
    assert torch.equal(second["x0"], first["x0"])
    assert not torch.equal(second["x"], first["x"])
    assert digest(again / "initial.safetensors") == digest(trained / "model2" / "model.safetensors")
    assert digest(again / "train.safetensors") == digest(trained / "data" / "train.safetensors")


def test_more_pairs_add_to_those_there(tiny: Config, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = _rectify(replace(tiny, sampler=SamplerConfig(n=20, batch_size=8)), trained)
    capsys.readouterr()
    more = _rectify(tiny, trained)
    assert "sample: continues at 20 of 40" in capsys.readouterr().err
    assert torch.equal(more["x"][:20], few["x"])
    _rectify(tiny, trained)
    assert "rectify: " in (said := capsys.readouterr().err)
    assert "is up to date" in said


def test_a_model_without_sources_is_refused(
    tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before its samples are drawn."""
    model, drawn = type(tiny.study.model(Path())), []

    def sample(self: object, n: int, *, steps: int = 50, **_: object) -> Samples:
        drawn.append((n, steps))
        return Samples(torch.zeros(n, 2), None, 1)

    monkeypatch.setattr(model, "sample", sample)
    capsys.readouterr()
    with pytest.raises(InputError, match=r"no sources .*; train one with a path from noise to data"):
        _rectify(tiny, trained)
    assert drawn == [(1, 1)]
    assert not list((trained / ".state").glob("rectify-*"))
    assert capsys.readouterr().err == ""


def test_a_killed_run_continues(tiny: Config, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By command, killed in its second batch of five; then done, as if it had never been."""
    folders = ["--data", trained / "data", "--model", trained / "model", "--out", trained / "pairs"]
    assert sciflow("rectify", *folders, kill_in="sample").returncode == -9
    assert not (trained / "pairs").exists()
    pairs = _rectify(tiny, trained)
    assert "sample: continues at 8 of 40" in capsys.readouterr().err
    whole = _rectify(tiny, trained, "whole", "other")
    assert all(torch.equal(pairs[name], whole[name]) for name in whole)
