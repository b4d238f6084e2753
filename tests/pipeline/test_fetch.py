"""Fetched data meet their checksum, wherever they come from."""

import hashlib
import lzma
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
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


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder behind an address on this machine, which stands for the Protein Data Bank."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    listed = sources()
    listed["pdb"]["entries"]["url"] = f"http://127.0.0.1:{server.server_port}/{{id}}.cif.gz"
    monkeypatch.setattr(module, "sources", lambda: listed)
    monkeypatch.delenv("SCIFLOW_MIRROR", raising=False)
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_entries_come_by_their_ids(served: Path, tmp_path: Path) -> None:
    for name in ("1UBQ", "2LZM", "4HHB"):
        (served / f"{name}.cif.gz").write_bytes(name.encode())
    (tmp_path / "mine.txt").write_text("# small ones\n2lzm, 1ubq  # twice\n\n4hhb\n")
    out = fetch("pdb", tmp_path / "raw", ["1ubq"])
    assert [file.name for file in out.iterdir()] == ["1UBQ.cif.gz"]
    (served / "1UBQ.cif.gz").write_bytes(b"revised")
    assert fetch("pdb", tmp_path / "raw", ["1UBQ", str(tmp_path / "mine.txt")]) == out
    content = {file.name: file.read_bytes() for file in out.iterdir()}
    assert content == {f"{name}.cif.gz": name.encode() for name in ("1UBQ", "2LZM", "4HHB")}


def test_entries_that_do_not_come_are_named_and_leave_nothing(served: Path, tmp_path: Path) -> None:
    (served / "1UBQ.cif.gz").write_bytes(b"1UBQ")
    with pytest.raises(InputError, match=r"9ZZZ\.cif\.gz: cannot be downloaded \(HTTPError\)"):
        fetch("pdb", tmp_path / "raw", ["1UBQ", "9ZZZ"])
    assert [file.name for file in (tmp_path / "raw" / "pdb").iterdir()] == ["1UBQ.cif.gz"]
    with pytest.raises(InputError, match="'1UBQ_A' is neither an id such as 1UBQ"):
        fetch("pdb", tmp_path / "raw", ["1UBQ_A"])
    with pytest.raises(InputError, match="say which"):
        fetch("pdb", tmp_path / "raw")
    with pytest.raises(InputError, match="comes whole; leave 1UBQ out"):
        fetch("structures", tmp_path / "raw", ["1UBQ"])


def test_entries_come_from_a_mirror_where_there_is_one(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIFLOW_MIRROR", str(tmp_path))
    (tmp_path / "pdb").mkdir()
    (tmp_path / "pdb" / "1UBQ.cif.gz").write_bytes(b"mirrored")
    assert (fetch("pdb", tmp_path / "raw", ["1ubq"]) / "1UBQ.cif.gz").read_bytes() == b"mirrored"
    assert (tmp_path / "pdb" / "1UBQ.cif.gz").exists()
    with pytest.raises(InputError, match=r"no pdb/2LZM\.cif\.gz there; unset it"):
        fetch("pdb", tmp_path / "raw", ["2LZM"])


def test_sources_are_complete() -> None:
    for name, source in sources().items():
        assert {"title", "source", "licence", "citation"} <= source.keys(), name
        for file in source.get("files", []):
            assert file["url"].startswith("https://raw.githubusercontent.com/")
            assert len(file["sha256"]) == 64


def test_runs_that_start_together_fetch_once(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched, one_file = [], module._file

    def slow(entry: dict[str, Any], target: Path, scratch: Path) -> None:
        fetched.append(target.name)
        time.sleep(0.05)
        one_file(entry, target, scratch)

    monkeypatch.setattr(module, "_file", slow)
    with ThreadPoolExecutor(4) as runs:
        folders = list(runs.map(lambda _: fetch("table", tmp_path / "raw"), range(4)))
    assert set(folders) == {tmp_path / "raw" / "table"}
    assert sorted(fetched) == ["packed.csv", "plain.csv"]
