"""Several runs in one table: averages over seeds, and gains paired seed by seed."""

import json
from pathlib import Path

import pytest

from sciflow.errors import InputError
from sciflow.pipeline.report import metric_rows
from sciflow.pipeline.summary import comparison, summary


def _run(folder: Path, value: float, floor: float | None, name: str = "nll") -> Path:
    folder.mkdir()
    metric = {"value": value, "error": None, "n": 5, "floor": floor, "reference": None, "unit": "nat", "published": 2.0}
    (folder / "metrics.json").write_text(
        json.dumps({"study": "s", "seed": 0, "version": "0", "metrics": {name: metric}})
    )
    return folder


def test_seeds_are_averaged_and_gains_are_paired(tmp_path: Path) -> None:
    """Values 1 and 3 over floors 2 and 4: the spread is that of the splits, the gain is 1 in each."""
    folders = [
        _run(tmp_path / "rna-0", 1.0, 2.0),
        _run(tmp_path / "rna-1", 3.0, 4.0),
        _run(tmp_path / "lys", 5.0, None),
    ]
    table = [line.split("  ") for line in comparison(folders).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in table]
    assert cells[2] == ["rna", "2", "nll", "2 ± 1.4", "3 ± 1.4", "1", "2", "nat"]
    assert cells[3] == ["lys", "1", "nll", "5", "2", "nat"]


def test_a_reference_has_the_digits_of_the_error() -> None:
    metric = {"value": 164.6912, "error": 0.0041, "n": 9, "floor": None, "reference": 164.69567, "unit": "nat"}
    assert metric_rows({"log_z": metric})[1] == ["log_z", "164.6912 ± 0.0041", "9", "", "164.6957", "", "nat"]
    assert metric_rows({"log_z": metric | {"error": 12.0}})[1][1] == "165 ± 12"


def test_a_run_without_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"empty: no metrics\.json"):
        comparison([_run(tmp_path / "a", 1.0, 1.0), tmp_path / "empty"])


def test_a_handful_of_effective_samples_is_said_so(tmp_path: Path) -> None:
    assert "4 effective samples of 5: no reweighted number" in summary(_run(tmp_path / "a", 0.8, None, "ess"))
    assert "effective samples" not in summary(_run(tmp_path / "b", 0.8, None))
