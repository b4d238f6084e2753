"""The workflow from end to end, on the study of the documentation."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import ROOT

pytestmark = pytest.mark.e2e
MOONS = str(ROOT / "docs" / "examples" / "two_moons.py")


def _snakemake(folder: Path, runs: dict[str, dict[str, Any]], *args: str) -> str:
    (folder / "runs.yaml").write_text(yaml.safe_dump({"results": "results", "runs": runs}))
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "workflows" / "Snakefile"), "--cores", "2"]
    done = subprocess.run(
        [*command, "--configfile", "runs.yaml", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _jobs(text: str) -> dict[str, int]:
    """Job counts of a dry run."""
    rules = ("prepare", "rectify", "train", "sample", "evaluate")
    rows = [line.split() for line in text.rpartition("Job stats:")[2].splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[0] in rules}


def _runs(*, n: int = 30, steps: int = 20, rows: int = 100) -> dict[str, dict[str, Any]]:
    tiny = ["depth=1", f"trainer.steps={steps}", "trainer.batch_size=16", "sampler.steps=2"]
    return {
        "first": {"study": MOONS, "overrides": [*tiny, "width=8", f"data.rows={rows}", f"n={n}"]},
        "second": {"study": MOONS, "data": "first", "overrides": [*tiny, "width=16", "n=20"]},
    }


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    said = _snakemake(tmp_path, _runs())
    for run, n in {"first": 30, "second": 20}.items():
        folder = tmp_path / "results" / run
        assert json.loads((folder / "metrics.json").read_text())["study"] == "two_moons"
        assert (folder / "figures" / "points.png").exists()
        assert len((folder / "samples" / "samples.csv").read_text().splitlines()) == n + 1
        assert "train: 20/20 (100 %)" in (folder / "logs" / "train.log").read_text()
    assert "train: 20/20 (100 %)" in said
    assert not (tmp_path / "results" / "second" / "data").exists()

    assert "Nothing to be done" in _snakemake(tmp_path, _runs())
    assert _jobs(_snakemake(tmp_path, _runs(n=31), "-n")) == {"sample": 1, "evaluate": 1}
    assert _jobs(_snakemake(tmp_path, _runs(rows=110), "-n")) == {"prepare": 1, "train": 2, "sample": 2, "evaluate": 2}

    _snakemake(tmp_path, _runs(), "--report", "report.html")
    assert "Held-out data (left) and samples of the flow (right)" in (tmp_path / "report.html").read_text()


def test_a_run_on_the_pairs_of_another(tmp_path: Path) -> None:
    """Evaluated on the data of the first, as would be a third on the pairs of the second."""
    runs = _runs()
    del runs["second"]
    fast = ["depth=1", "width=8", "data.rows=100", "trainer.steps=10", "trainer.batch_size=16", "sampler.steps=1"]
    runs["fast"] = {"study": MOONS, "pairs": "first", "rectify": ["n=40"], "overrides": [*fast, "n=20"]}
    assert "rectify: 40 of 40 pairs kept" in _snakemake(tmp_path, runs)
    results = tmp_path / "results"
    assert (results / "fast" / "metrics.json").exists()
    assert not (results / "fast" / "data").exists()
    meta = json.loads((results / "fast" / "pairs" / "meta.json").read_text())
    assert (meta["pairs"]["kept"], meta["sha256"]["test.safetensors"]) == (40, _sha256(results / "first" / "data"))

    runs["faster"] = {**runs["fast"], "pairs": "fast"}
    runs["fast"]["rectify"] = ["n=41"]
    assert _jobs(_snakemake(tmp_path, runs, "-n")) == {"rectify": 2, "train": 2, "sample": 2, "evaluate": 2}


def _sha256(data: Path) -> str:
    return json.loads((data / "meta.json").read_text())["sha256"]["test.safetensors"]


@pytest.mark.parametrize("config", ["config.yaml", "ala2-fm.yaml"])
def test_shipped_configurations_plan(tmp_path: Path, config: str) -> None:
    shipped = yaml.safe_load((ROOT / "workflows" / "config" / config).read_text())["runs"]
    jobs = _jobs(_snakemake(tmp_path, shipped, "-n"))
    assert jobs == {"prepare": 1, **dict.fromkeys(("train", "sample", "evaluate"), len(shipped))}
