"""Raw data from its official source, or from a mirror, with one and the same checksum."""

import hashlib
import lzma
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from .outputs import digest, fingerprint, finished, publish

__all__ = ["fetch", "sources"]


def sources() -> dict[str, dict[str, Any]]:
    """The data sets of ``data/sources.yaml``, by name."""
    listed: dict[str, dict[str, Any]] = yaml.safe_load((resources.files("sciflow.conf") / "sources.yaml").read_text())
    return listed


def fetch(name: str, out: Path = Path("data/raw")) -> Path:
    """Bring a data set to ``out/name``, whole or not at all; nothing is done where it is there already.

    Files come from their official address, or from the folder that ``SCIFLOW_MIRROR`` names.

    Raises:
        InputError: an unknown name, no connection, a file that is missing or differs from its checksum.
    """
    listed = sources()
    if name not in listed:
        raise InputError(f"unknown data set {name!r}; one of: {', '.join(listed)}")
    source, folder = listed[name], Path(out) / name
    made_from = fingerprint(source)
    if finished(folder, "fetch", made_from):
        return folder
    with publish(folder, "fetch", made_from) as part, tempfile.TemporaryDirectory() as scratch:
        for entry in source.get("files", []):
            _file(entry, part / entry["path"], Path(scratch))
        if "archive" in source:
            _archive(source["archive"], part, Path(scratch))
    return folder


def _file(entry: dict[str, Any], target: Path, scratch: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    copy = _mirrored(entry)
    if copy is None:
        shutil.move(_download(entry["url"], entry["sha256"], scratch), target)
    elif copy.suffix == ".xz":
        with lzma.open(copy) as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    else:
        shutil.copyfile(copy, target)
    _verify(target, entry["sha256"], str(copy or entry["url"]))


def _archive(entry: dict[str, Any], out: Path, scratch: Path) -> None:
    """Unpack the members of a repository at one commit, and verify all of them by one checksum."""
    copy = _mirrored(entry)
    packed = copy or _download(entry["url"], None, scratch)
    root = "mirror" if copy else "upstream"
    lines = []
    with tarfile.open(packed) as tar:
        for member in tar:
            # an archive of a repository has one folder, named after the commit, around everything
            path = member.name if copy else member.name.partition("/")[2]
            for target in _targets(path, entry["members"], root) if member.isfile() else ():
                content = tar.extractfile(member)
                assert content is not None
                (out / target).parent.mkdir(parents=True, exist_ok=True)
                with (out / target).open("wb") as file:
                    shutil.copyfileobj(content, file)
                lines.append((target, digest(out / target)))
    listing = "".join(f"{checksum}  {target}\n" for target, checksum in sorted(lines))
    if hashlib.sha256(listing.encode()).hexdigest() != entry["sha256_of_listing"]:
        raise InputError(f"{packed}: its {len(lines)} members differ from those on record; delete it and fetch again")


def _targets(path: str, members: list[dict[str, str]], root: str) -> Iterator[str]:
    for rule in members:
        if path.startswith(rule[root]) and path.endswith(rule["match"]) and ".." not in path:
            yield rule["to"] + path.removeprefix(rule[root])


def _mirrored(entry: dict[str, Any]) -> Path | None:
    """The copy in the mirror, if there is one; a mirror that lacks a file is an error."""
    mirror = os.environ.get("SCIFLOW_MIRROR")
    if not mirror:
        return None
    copy = Path(mirror) / entry["path_in_mirror"]
    if not copy.is_file():
        raise InputError(f"SCIFLOW_MIRROR={mirror}: no {entry['path_in_mirror']} there; unset it to download instead")
    if "sha256_in_mirror" in entry:
        _verify(copy, entry["sha256_in_mirror"], str(copy))
    return copy


def _verify(path: Path, expected: str, origin: str) -> None:
    found = digest(path)
    if found != expected:
        raise InputError(f"{origin}: SHA-256 is {found}, on record is {expected}; the file is damaged or has changed")


def _download(url: str, sha256: str | None, folder: Path) -> Path:
    import pooch

    try:
        return Path(pooch.retrieve(url, known_hash=sha256, path=folder, progressbar=False))
    except ValueError as error:
        raise InputError(f"{url}: {str(error).splitlines()[0]}") from error
    except OSError as error:  # requests' errors are among them
        raise InputError(
            f"{url}: cannot be downloaded ({type(error).__name__}); check the connection, or set SCIFLOW_MIRROR"
        ) from error
