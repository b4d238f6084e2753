"""What a stage leaves on disk: whole or not at all, and named by what it was made from."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["digest", "fingerprint", "finished", "listing", "publish"]


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing(folder: Path) -> str:
    """Short name of what a folder holds: names, sizes and times of its files, hidden ones apart."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return fingerprint([[str(f.relative_to(folder)), f.stat().st_size, f.stat().st_mtime_ns] for f in files])


def fingerprint(*parts: Any) -> str:
    """Short name of plain data: the same content, the same name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def finished(out: Path, stage: str, made_from: str) -> bool:
    """True where ``out`` holds every file of a finished ``stage`` with this fingerprint."""
    manifest = _manifest(out, stage)
    return manifest.get("fingerprint") == made_from and all((out / name).is_file() for name in manifest["files"])


@contextmanager
def publish(out: Path, stage: str, made_from: str) -> Iterator[Path]:
    """A folder beside ``out`` to write in; when the block ends well, its files are moved to ``out`` by rename.

    When it does not, no new folder is left. Only files that an earlier run of the same stage published are ever removed
    from ``out``. The hidden manifest ``.STAGE.json`` goes first and comes last: where it stands, the output is whole.
    """
    part = out.with_name(f".{out.name}.{stage}.part")
    shutil.rmtree(part, ignore_errors=True)
    made = [folder for folder in part.parents if not folder.exists()]
    part.mkdir(parents=True)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):  # a folder that another stage has written to since stays
            for folder in made:
                folder.rmdir()
        raise
    files = sorted(str(path.relative_to(part)) for path in part.rglob("*") if path.is_file())
    stale = set(_manifest(out, stage).get("files", [])) - set(files)
    (out / f".{stage}.json").unlink(missing_ok=True)
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part / name, out / name)
    for name in stale:
        (out / name).unlink(missing_ok=True)
    (part / "manifest").write_text(json.dumps({"fingerprint": made_from, "files": files}, indent=1))
    os.replace(part / "manifest", out / f".{stage}.json")
    shutil.rmtree(part)


def _manifest(out: Path, stage: str) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((out / f".{stage}.json").read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}
    return manifest
