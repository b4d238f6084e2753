"""The workflow from end to end, on the study of the documentation."""

import json
import math
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
    rules = ("prepare", "rectify", "train", "sample", "evaluate", "refold", "self_consistency")
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


#: In place of a folding model: each sample twice, its atoms moved by some 0.2 Å and some 4 Å.
FOLD = """
import random, sys
from pathlib import Path

samples, folded = map(Path, sys.argv[1:])
for path in sorted(samples.glob("*.pdb")):
    for k, noise in enumerate((0.2, 4.0)):
        with (folded / f"{path.stem}_{k}.pdb").open("w") as file:
            for line in path.read_text().splitlines():
                xyz = [float(line[i : i + 8]) + random.gauss(0, noise) for i in (30, 38, 46)]
                print(line[:30] + "".join(f"{x:8.3f}" for x in xyz) + line[54:], file=file)
"""


def test_samples_are_folded_again_by_a_command_of_the_user(tmp_path: Path) -> None:
    """From samples on, which stand here as if they had been drawn: two helices of 20 residues."""
    (tmp_path / "fold.py").write_text(FOLD)
    runs = {"helices": {"study": "backbones", "refold": "python fold.py {samples} {folded}; echo folded"}}
    run = tmp_path / "results" / "helices"
    data = [f"data/{split}.safetensors" for split in ("train", "val", "test")]
    model = ["model/model.safetensors", "model/config.yaml", "model/history.csv", "model/history.png"]
    for name in [*data, "data/meta.json", *model, "samples/config.yaml", "samples/samples.safetensors"]:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("made before")
    (run / "samples" / "samples").mkdir()
    atoms = [(k, *atom) for k in range(20) for atom in (("N", 1.6, -28, -0.9), ("CA", 2.3, 0, 0), ("C", 1.7, 26, 1.1))]
    lines = [
        f"ATOM  {i:5d}  {name:3s} GLY A{k:4d}    {radius * math.cos(math.radians(100 * k + turn)):8.3f}"
        f"{radius * math.sin(math.radians(100 * k + turn)):8.3f}{1.5 * k + rise:8.3f}  1.00  0.00           {name[0]}\n"
        for i, (k, name, radius, turn, rise) in enumerate(atoms)
    ]
    for name in ("00000", "00001"):
        (run / "samples" / "samples" / f"{name}.pdb").write_text("".join(lines))
    _snakemake(tmp_path, runs, "--rerun-triggers", "mtime", "--", "results/helices/self_consistency.json")
    metrics = json.loads((run / "self_consistency.json").read_text())["metrics"]
    assert (metrics["designable"]["value"], metrics["designable"]["n"]) == (1.0, 2)
    assert (run / "logs" / "refold.log").read_text() == "folded\n"
    assert 0.01 < metrics["sc_rmsd"]["value"] < 0.05  # 0.2 √3 Å, less six degrees of freedom
    rows = (run / "self_consistency.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in rows[1:]] == [["00000", "20", "2"], ["00001", "20", "2"]]


def _sha256(data: Path) -> str:
    return json.loads((data / "meta.json").read_text())["sha256"]["test.safetensors"]


@pytest.mark.parametrize("config", ["config.yaml", "ala2-fm.yaml"])
def test_shipped_configurations_plan(tmp_path: Path, config: str) -> None:
    shipped = yaml.safe_load((ROOT / "workflows" / "config" / config).read_text())["runs"]
    jobs = _jobs(_snakemake(tmp_path, shipped, "-n"))
    assert jobs == {"prepare": 1, **dict.fromkeys(("train", "sample", "evaluate"), len(shipped))}
