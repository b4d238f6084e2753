"""Several runs in one table: averages over seeds, and gains paired seed by seed."""

import json
from pathlib import Path

import pytest

from sciflow.errors import InputError
from sciflow.pipeline.report import metric_rows
from sciflow.pipeline.summary import comparison, summary


def _run(folder: Path, value: float, floor: float | None, name: str = "nll", **more: object) -> Path:
    folder.mkdir()
    metric = {"value": value, "error": None, "n": 5, "floor": floor, "reference": None, "unit": "nat", "published": 2.0}
    metric |= more
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
    assert cells[2] == ["nll", "rna", "2", "2 ± 1.4", "5", "3 ± 1.4", "1", "2", "nat"]
    assert cells[3] == ["nll", "lys", "1", "5", "5", "2", "nat"]


def test_only_nats_are_a_gain_and_one_run_keeps_its_error(tmp_path: Path) -> None:
    """An effective sample size above its floor is no loss, and a population has no better and worse."""
    ess = _run(tmp_path / "a", 0.9861, 0.001, "ess", unit="fraction", error=0.002)
    table = comparison([ess, _run(tmp_path / "b", 0.5, 0.5, "p_right", unit="fraction")])
    assert "gain" not in table
    assert "0.9861 ± 0.002" in table
    assert table.splitlines()[2].split()[:7] == ["ess", "a", "1", "0.9861", "±", "0.002", "5"]


def test_runs_of_a_metric_stand_beneath_each_other(tmp_path: Path) -> None:
    """And columns without a number are left out."""
    for name in "ab":
        _run(tmp_path / name, 1.0, None, published=None)
        path = tmp_path / name / "metrics.json"
        content = json.loads(path.read_text())
        content["metrics"] |= {metric: content["metrics"]["nll"] for metric in ("ess", f"of_{name}")}
        path.write_text(json.dumps(content))
    header, _, *rows = [line.split() for line in comparison([tmp_path / "a", tmp_path / "b"]).splitlines()]
    assert header == ["metric", "run", "seeds", "value", "n", "unit"]
    seen = [tuple(row[:2]) for row in rows]
    assert seen == [("nll", "a"), ("nll", "b"), ("ess", "a"), ("ess", "b"), ("of_a", "a"), ("of_b", "b")]


def test_sizes_of_seeds_that_differ_are_a_range(tmp_path: Path) -> None:
    assert " 5–7 " in comparison([_run(tmp_path / "r-0", 1.0, None), _run(tmp_path / "r-1", 1.0, None, n=7)])


def test_a_reference_has_the_digits_of_the_error() -> None:
    metric = {"value": 164.6912, "error": 0.0041, "n": 9, "floor": None, "reference": 164.69567, "unit": "nat"}
    assert metric_rows({"log_z": metric})[1] == ["log_z", "164.6912 ± 0.0041", "9", "", "164.6957", "", "nat"]
    assert metric_rows({"log_z": metric | {"error": 12.0}})[1][1] == "165 ± 12"


def test_errors_of_rounding_widen_no_table() -> None:
    metric = {"value": 10 / 69, "error": 2.8e-17, "n": 3, "floor": 30 / 31, "reference": None, "unit": None}
    assert metric_rows({"share": metric})[1][:4] == ["share", "0.1449 ± 0", "3", "0.9677"]


def test_more_than_a_handful_of_files_are_counted(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a", 0.8, None)
    (folder / "samples").mkdir()
    for name in ("all.fasta", *(f"{i}.{suffix}" for i in range(7) for suffix in ("pdb", "cif"))):
        (folder / "samples" / name).touch()
    said = [line.split(maxsplit=1)[1] for line in summary(folder).splitlines() if line.startswith("samples")]
    where = folder / "samples"
    assert sorted(said) == [f"{where}/*.cif (7 files)", f"{where}/*.pdb (7 files)", f"{where}/all.fasta"]


def test_a_floor_below_the_error_keeps_two_digits() -> None:
    """1/N is not its double because an effective share is known to 0.007 only."""
    metric = {"value": 0.93, "error": 0.077, "n": 2000, "floor": 0.0005, "reference": 0.0, "unit": "fraction"}
    assert metric_rows({"ess": metric})[1][:5] == ["ess", "0.930 ± 0.077", "2000", "0.0005", "0.000"]


def test_a_run_without_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"empty: no metrics\.json"):
        comparison([_run(tmp_path / "a", 1.0, 1.0), tmp_path / "empty"])


@pytest.mark.parametrize("broken", ['{"study": "s", ', "[]", "{}", "\x00"])
def test_broken_metrics_are_one_line(tmp_path: Path, broken: str) -> None:
    (tmp_path / "metrics.json").write_text(broken)
    with pytest.raises(InputError, match=r"metrics\.json: not what .* run its stage again") as caught:
        summary(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_handful_of_effective_samples_is_said_so(tmp_path: Path) -> None:
    assert "4 effective samples of 5: no reweighted number" in summary(_run(tmp_path / "a", 0.8, None, "ess"))
    assert "effective samples" not in summary(_run(tmp_path / "b", 0.8, None))
    assert "1 effective sample of 5:" in summary(_run(tmp_path / "c", 0.2, None, "ess"))
