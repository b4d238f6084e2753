"""The workflow from end to end, on the study of the documentation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command import ROOT

pytestmark = pytest.mark.e2e
MOONS = str(ROOT / "docs" / "examples" / "two_moons.py")


def _snakemake(folder: Path, runs: dict[str, object], *args: str) -> str:
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
    rules = ("prepare", "train", "sample", "evaluate")
    rows = [line.split() for line in text.rpartition("Job stats:")[2].splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[0] in rules}


def _runs(*, n: int = 30, steps: int = 20, rows: int = 100) -> dict[str, object]:
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


@pytest.mark.parametrize("config", ["config.yaml", "ala2-fm.yaml"])
def test_shipped_configurations_plan(tmp_path: Path, config: str) -> None:
    shipped = yaml.safe_load((ROOT / "workflows" / "config" / config).read_text())["runs"]
    jobs = _jobs(_snakemake(tmp_path, shipped, "-n"))
    assert jobs == {"prepare": 1, **dict.fromkeys(("train", "sample", "evaluate"), len(shipped))}
