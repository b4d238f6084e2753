"""Optimal grids in the sample stage: chosen once, the same for every batch, kept beside the samples."""

from pathlib import Path

import pytest
import torch
from command import ROOT

from sciflow import pipeline
from sciflow.errors import InputError
from sciflow.pipeline.config import Config, load_config
from sciflow.training import load_tensors

MOONS = str(ROOT / "docs" / "examples" / "two_moons.py")
TINY = ("depth=1", "width=8", "data.rows=60", "trainer.steps=3", "trainer.batch_size=8", "n=24")


def _config(*overrides: str) -> Config:
    return load_config(MOONS, [*TINY, "sampler.steps=4", "grid=optimal", *overrides])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("moons")
    pipeline.prepare(_config(), run / "data")
    pipeline.train(_config(), run / "data", run / "model")
    return run


def _sample(run: Path, out: str, *overrides: str, state: str = "") -> tuple[torch.Tensor, torch.Tensor]:
    folder = run / (state or f"state-{out}")
    samples = pipeline.sample(_config(*overrides), run / "data", run / "model", run / out, folder)
    assert isinstance(samples.x, torch.Tensor)
    return samples.x, load_tensors(run / out / "grid.safetensors")["t"]


@pytest.mark.parametrize("step", ["euler", "path"])
def test_the_grid_is_chosen_once(trained: Path, step: str) -> None:
    """In blocks of any size, cut short and continued, with more samples than at first."""
    x, times = _sample(trained, f"whole-{step}", f"step={step}")
    assert times.shape == (5,)
    assert (times[0], times[-1]) == (0, 1)
    assert (times.diff() > 0).all()
    few, first = _sample(trained, f"few-{step}", f"step={step}", "n=5", "sampler.batch_size=3", state=f"s-{step}")
    more, again = _sample(trained, f"few-{step}", f"step={step}", "sampler.batch_size=7", state=f"s-{step}")
    assert torch.equal(first, times)
    assert torch.equal(again, times)
    torch.testing.assert_close(more, x)  # float32, other batches
    torch.testing.assert_close(few, x[:5])


def test_the_grid_is_followed(trained: Path) -> None:
    x, times = _sample(trained, "followed", "step=euler")
    drawn = load_tensors(trained / "followed" / "samples.safetensors")
    model = pipeline.load_model(_config(), trained / "data", trained / "model")
    follow = drawn["x0"].to(next(model.parameters()).device)
    with torch.no_grad():
        for t, h in zip(times[:-1].to(follow), times.diff().to(follow), strict=True):
            follow = follow + h * model.field.velocity(follow, t.expand(len(follow)))
    torch.testing.assert_close(follow.cpu(), x)


def test_models_and_steps_without_one_say_so(trained: Path, gaussian: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dopri5 places its steps itself"):
        _sample(trained, "adaptive", "step=dopri5")
    with pytest.raises(InputError, match=r"sampler\.grid='best': use optimal"):
        _config("grid=best")
    config = load_config(gaussian, ["trainer.steps=2", "grid=optimal"])
    pipeline.prepare(config, tmp_path / "data")
    with pytest.raises(InputError, match=r"sampler\.grid=optimal: this model has no such setting"):
        pipeline.train(config, tmp_path / "data", tmp_path / "model")
