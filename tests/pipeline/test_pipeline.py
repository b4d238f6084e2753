"""Laws of the four stages, on a study of one parameter pair."""

import base64
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sciflow import __version__, pipeline
from sciflow.errors import InputError
from sciflow.pipeline.config import Config, SamplerConfig, load_config
from sciflow.pipeline.outputs import digest
from sciflow.pipeline.summary import summary
from sciflow.rng import Generator, normal
from sciflow.study import Evaluation, require_prepared
from sciflow.training import Samples, save_tensors


@pytest.fixture
def trained(tiny: Config, tmp_path: Path) -> Path:
    pipeline.prepare(tiny, tmp_path / "data")
    pipeline.train(tiny, tmp_path / "data", tmp_path / "model")
    return tmp_path


def _sample(config: Config, run: Path, out: str = "samples", state: str = ".state") -> Samples:
    return pipeline.sample(config, run / "data", run / "model", run / out, run / state)


def _with(config: Config, **sampler: int) -> Config:
    return replace(config, sampler=SamplerConfig(**{"n": 40, "batch_size": 8, **sampler}))


def test_prepared_data_say_where_they_come_from(tiny: Config, tmp_path: Path) -> None:
    out = pipeline.prepare(tiny, tmp_path / "data")
    meta = json.loads((out / "meta.json").read_text())
    assert meta["units"] == "none"
    assert (meta["version"], meta["seed"]) == (__version__, tiny.seed)
    assert meta["sha256"] == {f"{s}.safetensors": digest(out / f"{s}.safetensors") for s in ("train", "val", "test")}


def test_evaluation_is_written_as_published(tiny: Config, trained: Path) -> None:
    _sample(tiny, trained)
    pipeline.evaluate(tiny, trained / "data", trained / "samples", trained)
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics == {
        "study": "gaussian",
        "version": __version__,
        "seed": 0,
        "metrics": {
            "mean": {
                "value": 1.0,
                "error": 0.5,
                "n": 40,
                "floor": 0.0,
                "reference": 2.0,
                "unit": "kT",
                "published": None,
            }
        },
    }
    assert (trained / "figures" / "cloud.png").stat().st_size > 0
    assert json.loads((trained / "figures" / "captions.json").read_text()) == {"cloud": "The samples."}


def test_the_report_stands_alone(tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table and figures in one file, captions as text, and the same bytes again."""
    evaluate = type(tiny.study).evaluate

    def captioned(self: object, samples: Samples, data: Path) -> Evaluation:
        return replace(evaluate(self, samples, data), captions={"cloud": "x < 2 & <b>y</b>"})

    monkeypatch.setattr(type(tiny.study), "evaluate", captioned)
    _sample(tiny, trained)
    pages = []
    for out in ("a", "b"):
        pipeline.evaluate(tiny, trained / "data", trained / "samples", trained / out)
        pages.append((trained / out / "metrics.html").read_text())
    assert pages[0] == pages[1]
    assert f"<h1>gaussian, seed 0, sciflow {__version__}</h1>" in pages[0]
    assert "<td>mean</td><td>1.00 ± 0.5</td><td>40</td>" in pages[0]
    assert "<figcaption>x &lt; 2 &amp; &lt;b&gt;y&lt;/b&gt;</figcaption>" in pages[0]
    image = base64.b64encode((trained / "a" / "figures" / "cloud.png").read_bytes()).decode()
    assert f"src='data:image/png;base64,{image}'" in pages[0]
    assert "://" not in pages[0]


def test_held_out_data_are_scored_where_asked_for(gaussian: str, trained: Path) -> None:
    config = load_config(gaussian, ["trainer.steps=60", "n=40", "likelihood=true", "tolerance=0.5"])
    samples = pipeline.sample(config, trained / "data", trained / "model", trained / "scored")
    test, mean = config.study.dataset(trained / "data", "test").tensors["x"], samples.test_logp_error
    assert samples.test_logp.shape == (len(test),)
    torch.testing.assert_close(samples.test_logp_error, torch.full_like(mean, 0.25))  # 0.5 and 0.25, by construction
    again = pipeline.load_samples(trained / "scored")
    torch.testing.assert_close(again.test_logp, samples.test_logp)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_metrics_that_are_not_numbers_are_errors(gaussian: str, tiny: Config, trained: Path, value: str) -> None:
    _sample(tiny, trained)
    config = load_config(gaussian, [f"evaluation.value={value}"])
    with pytest.raises(InputError, match=f"metric mean: its value is {value}"):
        pipeline.evaluate(config, trained / "data", trained / "samples", trained)
    assert not (trained / "metrics.json").exists()


@pytest.mark.parametrize("where", ["x", "logq"])
def test_samples_that_are_not_numbers_are_named(tiny: Config, trained: Path, where: str) -> None:
    drawn = _sample(tiny, trained)
    getattr(drawn, where)[3:5] = math.nan
    save_tensors({"x": drawn.x, "logq": drawn.logq, "nfe": torch.tensor(1)}, trained / "samples/samples.safetensors")
    with pytest.raises(InputError, match=r"samples\.safetensors: sample 3 and 1 more are not finite; delete it"):
        pipeline.evaluate(tiny, trained / "data", trained / "samples", trained)


def test_a_block_that_was_deleted_is_drawn_again(tiny: Config, trained: Path) -> None:
    whole = _sample(tiny, trained)
    (block,) = trained.glob(".state/sample-*/000000008-*.safetensors")
    block.unlink()
    (trained / "samples/samples.safetensors").unlink()
    assert torch.equal(_sample(tiny, trained).x, whole.x)


def test_data_of_another_study_are_refused(tiny: Config, trained: Path) -> None:
    config = replace(tiny, tree=tiny.tree | {"study": {"_target_": "sciflow.physics.EnergyStudy"}})
    meta = json.loads((trained / "data/meta.json").read_text())
    meta["config"]["_target_"] = "sciflow.molecules.PeptideStudy"
    (trained / "data/meta.json").write_text(json.dumps(meta))
    with pytest.raises(
        InputError, match=r"prepared by PeptideStudy, and .* are of EnergyStudy: prepare data of gaussian"
    ):
        pipeline.sample(config, trained / "data", trained / "model", trained / "samples")
    pipeline.train(tiny, trained / "data", trained / "again")  # of a file of one's own


def test_what_is_there_is_not_done_again(tiny: Config, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _sample(tiny, trained)
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    capsys.readouterr()
    pipeline.prepare(tiny, trained / "data")
    pipeline.train(tiny, trained / "data", trained / "model")
    _sample(tiny, trained)
    assert capsys.readouterr().err.count("is up to date") == 3
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()} == before


def test_a_changed_setting_starts_afresh(gaussian: str, tiny: Config, trained: Path) -> None:
    first = pipeline.load_model(tiny, trained / "data", trained / "model").mean
    other = load_config(gaussian, ["trainer.steps=50", "trainer.batch_size=8"])
    second = pipeline.train(other, trained / "data", trained / "model").mean
    assert not torch.equal(first, second)
    assert len(list((trained / ".state").glob("train-*"))) == 2


def test_speed_settings_do_not_start_afresh(gaussian: str, tiny: Config, trained: Path) -> None:
    config = replace(tiny, tree=tiny.tree | {"trainer": tiny.tree["trainer"] | {"threads": 2}})
    pipeline.train(config, trained / "data", trained / "model")
    assert len(list((trained / ".state").glob("train-*"))) == 1


def test_a_sample_does_not_depend_on_the_batch_size(tiny: Config, trained: Path) -> None:
    ends = [_sample(_with(tiny, batch_size=b), trained, f"s{b}", f"state{b}") for b in (1, 7, 40)]
    for end in ends[1:]:
        # one addition in float32: equal to rounding
        torch.testing.assert_close(end.x, ends[0].x)
        torch.testing.assert_close(end.logq, ends[0].logq)


class _Conditioned:
    """A study of samples at places that their number names, some of them states on a product."""

    def __init__(self, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        def conditions(study: object, data: Path, indices: range, split: str = "test") -> dict[str, object]:
            first = study.dataset(data, split).tensors["x"][0]
            number = torch.tensor(indices, dtype=first.dtype)
            return {"number": number, "x": {"a": first.expand(len(number), 2), "b": number[:, None]}}

        def sample(
            model: object, n: int, cond: dict[str, Any] | None = None, generator: Generator = None, *, steps: int = 1
        ) -> Samples:
            z = normal(n, 2, generator=generator)
            return Samples(cond["x"]["a"] + 10 * cond["number"][:, None] + z, None, steps, x0=z)

        monkeypatch.setattr(type(config.study), "conditions", conditions, raising=False)
        monkeypatch.setattr(type(config.study.model(Path())), "sample", sample)


def test_samples_are_conditioned_on_what_the_study_says(
    tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sample i on conditions i, whatever the batch, and they are kept beside it; so is its source."""
    _Conditioned(tiny, monkeypatch)
    first = tiny.study.dataset(trained / "data", "test").tensors["x"][0]
    ends = [_sample(_with(tiny, batch_size=b), trained, f"s{b}", f"state{b}") for b in (40, 1, 7)]
    for end in ends:
        assert torch.equal(end.x, ends[0].x)
        assert torch.equal(end.x0, ends[0].x0)
        assert end.cond["number"].tolist() == list(range(40))
        assert torch.equal(end.x, first + 10 * end.cond["number"][:, None] + end.x0)
    again = pipeline.load_samples(trained / "s7")
    assert torch.equal(again.cond["x"]["b"][:, 0], again.cond["number"])


def test_other_data_are_other_conditions(tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _Conditioned(tiny, monkeypatch)
    before = _sample(_with(tiny), trained)
    x = tiny.study.dataset(trained / "data", "test").tensors["x"] + 1
    save_tensors({"x": x}, trained / "data" / "test.safetensors")
    meta = json.loads((trained / "data" / "meta.json").read_text())
    meta["sha256"]["test.safetensors"] = digest(trained / "data" / "test.safetensors")
    (trained / "data" / "meta.json").write_text(json.dumps(meta))
    torch.testing.assert_close(_sample(_with(tiny), trained).x, before.x + 1)


def test_more_samples_add_to_those_there(tiny: Config, trained: Path) -> None:
    few = _sample(_with(tiny, n=11), trained)
    drawn = {path: path.stat().st_mtime_ns for path in (trained / ".state").rglob("sample-*/*")}
    more = _sample(_with(tiny, n=30), trained)
    assert len(more.x) == 30
    assert torch.equal(more.x[:11], few.x)
    assert drawn.items() <= {path: path.stat().st_mtime_ns for path in (trained / ".state").rglob("sample-*/*")}.items()
    assert torch.equal(_sample(_with(tiny, n=5), trained).x, few.x[:5])


def test_all_batches_are_timed_those_of_earlier_calls_too(
    tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that is a second on whenever it is read: five batches of 30 samples take five seconds."""
    monkeypatch.setattr("sciflow.pipeline.blocks.perf_counter", itertools.count().__next__)
    for n, sizes in ((11, [8, 3]), (30, [8, 3, 5, 8, 6])):
        _sample(_with(tiny, n=n), trained)
        timing = json.loads((trained / "samples/timing.json").read_text())
        assert [batch["samples"] for batch in timing["batches"]] == sizes
        seconds = timing["metrics"]["seconds_per_sample"]
        assert (seconds["value"], seconds["n"]) == (len(sizes) / n, n)
        assert seconds["unit"].startswith("s, ")
        assert seconds["unit"].endswith(", batches of 8")
    pipeline.evaluate(tiny, trained / "data", trained / "samples", trained)
    assert "seconds_per_sample" not in (trained / "metrics.json").read_text()  # the same for the same samples
    assert "seconds_per_sample  0.1667" in summary(trained)
    assert "timing.json" not in summary(trained)


def test_other_solver_settings_draw_anew(tiny: Config, trained: Path) -> None:
    assert _sample(_with(tiny), trained).nfe == 1
    assert _sample(_with(tiny, steps=2), trained).nfe == 2


def test_settings_the_model_does_not_know_are_named(tiny: Config, trained: Path) -> None:
    config = replace(tiny, sampler=SamplerConfig(step="euler"))
    with pytest.raises(InputError, match=r"sampler\.step=euler: this model has no such setting"):
        _sample(config, trained)


def test_such_settings_stop_before_training(tiny: Config, tmp_path: Path) -> None:
    pipeline.prepare(tiny, tmp_path / "data")
    for sampler, says in ((SamplerConfig(step="euler"), "no such setting"), (SamplerConfig(guidance=1.0), "guidance")):
        with pytest.raises(InputError, match=says):
            pipeline.train(replace(tiny, sampler=sampler), tmp_path / "data", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_data_of_other_settings_are_refused(tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting by setting of a section; a file may be named in two ways."""
    study: Any = tiny.study
    require_prepared(study, trained / "data", "data")
    other = replace(study, data=replace(study.data, rows=study.data.rows + 1))
    with pytest.raises(InputError, match=rf"^study\.data\.rows={other.data.rows}: .*prepared with study\.data\.rows="):
        require_prepared(other, trained / "data", "data")
    meta = json.loads((trained / "data" / "meta.json").read_text())
    meta["config"]["data"]["path"] = str(trained / "a.csv")
    (trained / "data" / "meta.json").write_text(json.dumps(meta))
    monkeypatch.chdir(trained)
    require_prepared(replace(study, data=replace(study.data, path=Path("a.csv"))), trained / "data", "data")
    with pytest.raises(InputError, match=r"study\.data\.path=b\.csv"):
        require_prepared(replace(study, data=replace(study.data, path=Path("b.csv"))), trained / "data", "data")


def test_another_split_of_the_data_is_said(tiny: Config, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _sample(tiny, trained)
    pipeline.evaluate(tiny, trained / "data", trained / "samples", trained)
    assert "other data" not in capsys.readouterr().err
    other = json.loads((trained / "data" / "meta.json").read_text())
    other["sha256"]["test.safetensors"] = "another"
    (trained / "data" / "meta.json").write_text(json.dumps(other))
    pipeline.evaluate(tiny, trained / "data", trained / "samples", trained)
    assert "samples was made with other data" in capsys.readouterr().err
    _sample(tiny, trained, "again")
    assert "model was made with other data" in capsys.readouterr().err


def _limited(monkeypatch: pytest.MonkeyPatch, config: Config, limit: int) -> None:
    cls = type(config.study.model(Path()))
    whole = cls.sample

    def sample(self: object, n: int, cond: dict[str, Tensor] | None = None, generator: Generator = None) -> Samples:
        if n > limit:
            raise torch.OutOfMemoryError("no memory")
        return whole(self, n, cond, generator)

    monkeypatch.setattr(cls, "sample", sample)


def test_a_shortage_of_memory_halves_the_batch(tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _sample(tiny, trained)
    _limited(monkeypatch, tiny, limit=3)
    torch.testing.assert_close(_sample(tiny, trained, "again", "other").x, whole.x)


def test_no_memory_for_one_sample_is_an_error(tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _limited(monkeypatch, tiny, limit=0)
    with pytest.raises(InputError, match="out of memory"):
        _sample(tiny, trained)
    assert not (trained / "samples").exists()


def test_samples_that_are_not_finite_are_errors(tiny: Config, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        type(tiny.study.model(Path())), "sample", lambda *_, **__: Samples(torch.full((8, 2), math.nan), None, 1)
    )
    with pytest.raises(InputError, match="sample 0 and 7 more of its batch are not finite"):
        _sample(tiny, trained)


def test_stages_ask_for_what_they_miss(tiny: Config, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `sciflow prepare"):
        pipeline.train(tiny, tmp_path / "none", tmp_path / "m")
    with pytest.raises(InputError, match="run `sciflow train"):
        pipeline.sample(tiny, trained / "data", tmp_path / "none", tmp_path / "s")
    with pytest.raises(InputError, match="no such file"):
        pipeline.evaluate(tiny, trained / "data", tmp_path / "none", tmp_path / "e")
