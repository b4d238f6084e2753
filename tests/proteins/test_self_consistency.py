"""Laws of scRMSD and scTM: chains that are scaled, moved or mirrored, and files that do not belong."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sciflow import cli
from sciflow.errors import InputError
from sciflow.proteins.files import write_structure
from sciflow.proteins.self_consistency import consistency_metrics, self_consistency
from sciflow.proteins.structure import Chain
from sciflow.proteins.tm import d0

Build = Callable[..., Chain]
ROUNDED = 1e-4  # nm; PDB has 0.001 Å
N = 30


@pytest.fixture
def chain(build: Build) -> Chain:
    """A helix, right-handed."""
    return build("A" * N, phi=-80, psi=-20)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    folders = tmp_path / "samples", tmp_path / "folded"
    for folder in folders:
        folder.mkdir()
    return folders


def write(chain: Chain, path: Path, scale: float = 1.0, mirrored: bool = False) -> None:
    """Turned by 90° and moved; the mirror image also loses its hand."""
    turn = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, -1 if mirrored else 1]], dtype=torch.float64)
    write_structure([replace(chain, atoms=scale * chain.atoms @ turn + 0.5)], path)


def test_a_scaled_chain_is_off_by_the_scale_and_the_radius_of_gyration(
    chain: Chain, folders: tuple[Path, Path]
) -> None:
    """No motion brings (1 + s) x nearer to x than about the centre: scRMSD is s Rg, and scTM at least the sum there."""
    samples, folded = folders
    write_structure([chain], samples / "a.pdb")
    write(chain, folded / "a_1.cif", scale=1.1)
    write(chain, folded / "a_2.pdb", scale=1.2)
    (score,) = self_consistency(samples, folded)
    ca = chain.atoms[:, 1]
    square = (ca - ca.mean(0)).square().sum(-1)
    assert score[:3] == ("a", N, 2)
    assert score.sc_rmsd == pytest.approx(0.1 * float(square.mean().sqrt()), abs=ROUNDED)
    at_centre = float((1 / (1 + 0.01 * square / d0(torch.tensor(float(N))) ** 2)).mean())
    assert score.sc_tm is not None
    assert at_centre - 1e-3 < score.sc_tm < 1  # rounding of 1e-4 nm, of a d0 of 0.126


def test_the_best_of_several_counts_and_a_mirror_image_is_not_the_same(
    chain: Chain, folders: tuple[Path, Path]
) -> None:
    samples, folded = folders
    for name in ("hand", "both", "none"):
        write_structure([chain], samples / f"{name}.pdb")
    write(chain, folded / "hand.pdb", mirrored=True)
    write(chain, folded / "both_1.pdb", mirrored=True)
    write(chain, folded / "both_2.pdb")
    scores = {score.sample: score for score in self_consistency(samples, folded)}
    assert scores["both"].sc_rmsd == pytest.approx(0, abs=ROUNDED)
    assert scores["both"].sc_tm == pytest.approx(1, abs=1e-5)
    assert (scores["hand"].sc_rmsd or 0) > 0.2
    assert (scores["hand"].sc_tm or 1) < 0.5
    assert scores["none"] == ("none", N, 0, None, None)
    metrics = consistency_metrics(list(scores.values()))
    assert (metrics["designable"].value, metrics["designable"].n) == (0.5, 2)
    assert (metrics["not_folded"].value, metrics["not_folded"].n) == (1, 3)


def test_a_file_is_of_the_longest_name_that_it_starts_with(chain: Chain, folders: tuple[Path, Path]) -> None:
    samples, folded = folders
    for name in ("1", "10", "1_0"):
        write_structure([chain], samples / f"{name}.pdb")
    for name in ("1_2", "1", "10_0", "1_0_3", "1_0-4", "1_0.5"):
        write(chain, folded / f"{name}.pdb")
    assert {score.sample: score.folded for score in self_consistency(samples, folded)} == {"1": 2, "10": 1, "1_0": 3}


@pytest.mark.parametrize(
    ("name", "letters", "said"),
    [
        ("a_1.pdb", "A" * (N - 1), r"a_1\.pdb: 29 residues, and sample a has 30; fold whole sequences"),
        ("b_1.pdb", "A" * N, r"b_1\.pdb: there is no such sample in .*; name it SAMPLE_1\.pdb"),
        ("a1.pdb", "A" * N, r"a1\.pdb: there is no such sample"),
        ("a_1.txt", "A" * N, r"folded: no structures \(\*\.pdb, \*\.cif\) in it"),
    ],
)
def test_files_that_do_not_belong_are_named(
    build: Build, chain: Chain, folders: tuple[Path, Path], name: str, letters: str, said: str
) -> None:
    samples, folded = folders
    write_structure([chain], samples / "a.pdb")
    write_structure([build(letters)], folded / "made.pdb")
    (folded / "made.pdb").rename(folded / name)
    with pytest.raises(InputError, match=said):
        self_consistency(samples, folded)


def test_the_command_writes_numbers_and_rows(chain: Chain, folders: tuple[Path, Path], tmp_path: Path) -> None:
    samples, folded = folders
    for name in ("a", "b"):
        write_structure([chain], samples / f"{name}.pdb")
    write(chain, folded / "a.pdb")
    out = tmp_path / "run"
    cli.main(["self-consistency", "--samples", str(samples), "--folded", str(folded), "--out", str(out)])
    content = json.loads((out / "self_consistency.json").read_text())
    assert content["metrics"]["designable"]["value"] == 1
    assert content["not folded"] == ["b"]
    with (out / "self_consistency.csv").open(newline="") as file:
        rows = [(row["sample"], row["folded"], row["sc_rmsd"] == "") for row in csv.DictReader(file)]
    assert rows == [("a", "1", False), ("b", "0", True)]
