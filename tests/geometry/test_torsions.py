"""Torsions: tables in degrees of any range, the official files, and a whole run on a table of one's own."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sciflow import pipeline
from sciflow.errors import InputError
from sciflow.geometry import ProteinTorsions, RNATorsions
from sciflow.geometry.torsions import Angles, radians
from sciflow.pipeline.config import load_config


def test_angles_of_any_range_are_one_angle() -> None:
    found = radians(np.array([[350.0, -10.0, 710.0], [180.0, -180.0, 540.0]]))
    torch.testing.assert_close(found, torch.tensor([[-math.pi / 18] * 3, [math.pi] * 3]), atol=1e-6, rtol=0)


def test_rna_file_without_header(tmp_path: Path) -> None:
    raw = tmp_path / "rna_torsions"
    raw.mkdir()
    (raw / "rna.tsv").write_text("402d\tG\t10\t20\t30\t40\t50\t60\t70\n1abc\tC\t-1\t-2\t-3\t-4\t-5\t-6\t-7\n")
    points = RNATorsions().read(tmp_path)
    assert points.x.shape == (2, 7)
    assert list(points.groups) == ["402d", "1abc"]
    (raw / "rna.tsv").write_text("402d\tG\t10\t20\t30\tforty\t50\t60\t70\n")
    with pytest.raises(InputError, match="line 1, column delta: 'forty' is not a finite number"):
        RNATorsions().read(tmp_path)


def test_protein_file_drops_what_has_no_chi(tmp_path: Path) -> None:
    raw = tmp_path / "top8000_torsions"
    raw.mkdir()
    rows = ["1a2p B 39 CYS,-98.9,-14.7,287.6,NULL,NULL,NULL,114.9,0.07", "1a2p B 4 CYS,-9,-1,NULL,NULL,NULL,NULL,1,0"]
    (raw / "rota8000-cys.csv").write_text("\n".join(rows) + "\n")
    points = ProteinTorsions(residue="cys").read(tmp_path)
    assert points.x.shape == (1, 3)
    assert list(points.groups) == ["1a2p B"]


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        ("phi,psi\n1,2\n3,nan\n", {}, "line 3, column psi: 'nan' is not a finite number"),
        ("phi,psi\n1,2\n3\n", {}, "line 3: 1 values under a header of 2"),
        ("phi,psi\n1,2\n", {"columns": ["omega"]}, "no column omega; its columns are phi, psi"),
        ("phi,psi\n" + 20 * "1,-2.5\n", {}, "between −π and π; give degrees, not radians"),
        ("phi,psi\n", {}, r"1 line\(s\); give a header and rows"),
    ],
)
def test_bad_tables_are_one_line(tmp_path: Path, text: str, settings: dict[str, list[str]], says: str) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        Angles(path=tmp_path / "mine.csv", **settings).read()


@pytest.mark.e2e
def test_a_table_of_ones_own_becomes_samples_and_metrics(tmp_path: Path) -> None:
    angles = np.random.default_rng(0).normal(0, 40, (120, 2))
    np.savetxt(tmp_path / "mine.csv", angles, delimiter=",", header="phi,psi", comments="")
    small = ["trainer.steps=20", "model.width=16", "model.depth=1", "n=50", "sampler.steps=4", "tolerance=0.01"]
    config = load_config("rna_torsions", [f"data.path={tmp_path / 'mine.csv'}", *small])
    data = pipeline.prepare(config, tmp_path / "data")
    pipeline.train(config, data, tmp_path / "model")
    pipeline.sample(config, data, tmp_path / "model", tmp_path / "samples")
    evaluation = pipeline.evaluate(config, data, tmp_path / "samples", tmp_path)
    header, *rows = (tmp_path / "samples" / "samples.csv").read_text().splitlines()
    assert header == "phi,psi"
    assert len(rows) == 50
    assert set(evaluation.figures) == {"planes", "marginals"}
    assert evaluation.metrics["nll_prior"].value == pytest.approx(2 * math.log(2 * math.pi), rel=1e-5)
    assert evaluation.metrics["nll"].n == 12
    assert evaluation.metrics["nll"].published is None  # those numbers are for the data in print
