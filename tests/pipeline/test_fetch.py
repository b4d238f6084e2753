"""Fetched data meet their checksum, wherever they come from."""

import hashlib
import lzma
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sciflow.errors import InputError
from sciflow.pipeline import fetch as module
from sciflow.pipeline.fetch import fetch, sources

TEXT = b"a,b\n1,2\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with a plain file, a compressed one and an archive of one member."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "plain.csv").write_bytes(TEXT)
    (folder / "packed.csv.xz").write_bytes(lzma.compress(TEXT))
    with tarfile.open(folder / "many.tar.xz", "w:xz") as tar:
        tar.add(folder / "plain.csv", "mine/one.csv")
        tar.add(folder / "plain.csv", "mine/one.txt")
    digests = {name: _sha256((folder / name).read_bytes()) for name in ("packed.csv.xz", "many.tar.xz")}
    file = {"url": "https://example.invalid/x", "sha256": _sha256(TEXT)}
    listed: dict[str, Any] = {
        "table": {
            "files": [
                {**file, "path": "plain.csv", "path_in_mirror": "plain.csv"},
                {
                    **file,
                    "path": "deep/packed.csv",
                    "path_in_mirror": "packed.csv.xz",
                    "sha256_in_mirror": digests["packed.csv.xz"],
                },
            ],
            "archive": {
                "url": "https://example.invalid/y",
                "members": [{"upstream": "theirs/", "mirror": "mine/", "to": "all/", "match": ".csv"}],
                "sha256_of_listing": _sha256(f"{_sha256(TEXT)}  all/one.csv\n".encode()),
                "path_in_mirror": "many.tar.xz",
                "sha256_in_mirror": digests["many.tar.xz"],
            },
        }
    }
    monkeypatch.setattr(module, "sources", lambda: listed)
    monkeypatch.setenv("SCIFLOW_MIRROR", str(folder))
    return folder


def test_files_and_archives_come_unpacked(mirror: Path, tmp_path: Path) -> None:
    out = fetch("table", tmp_path / "raw")
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and not p.name.startswith("."))
    assert found == ["all/one.csv", "deep/packed.csv", "plain.csv"]
    assert all((out / name).read_bytes() == TEXT for name in found)
    for copy in mirror.iterdir():
        copy.unlink()
    assert fetch("table", tmp_path / "raw") == out  # it is there: nothing is read again


@pytest.mark.parametrize("damaged", ["plain.csv", "packed.csv.xz", "many.tar.xz"])
def test_damage_is_found_and_nothing_is_left(mirror: Path, tmp_path: Path, damaged: str) -> None:
    (mirror / damaged).write_bytes(b"damaged")
    with pytest.raises(InputError, match=f"{damaged}: SHA-256 is"):
        fetch("table", tmp_path / "raw")
    assert not any((tmp_path / "raw").glob("*"))


def test_what_is_not_there_is_named(mirror: Path, tmp_path: Path) -> None:
    (mirror / "plain.csv").unlink()
    with pytest.raises(InputError, match=r"no plain\.csv there"):
        fetch("table", tmp_path / "raw")
    with pytest.raises(InputError, match="unknown data set 'chair'; one of: table"):
        fetch("chair", tmp_path / "raw")


def test_sources_are_complete() -> None:
    for name, source in sources().items():
        assert {"title", "source", "licence", "citation"} <= source.keys(), name
        for file in source.get("files", []):
            assert file["url"].startswith("https://raw.githubusercontent.com/")
            assert len(file["sha256"]) == 64
