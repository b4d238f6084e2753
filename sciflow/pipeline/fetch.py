"""Raw data from its official source, or from a mirror, with one and the same checksum."""

import hashlib
import lzma
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from ..errors import InputError
from ..training import Progress
from .outputs import digest, fingerprint, finished, publish

__all__ = ["fetch", "sources"]


def sources() -> dict[str, dict[str, Any]]:
    """The data sets of ``data/sources.yaml``, by name."""
    listed: dict[str, dict[str, Any]] = yaml.safe_load((resources.files("sciflow.conf") / "sources.yaml").read_text())
    return listed


def fetch(name: str, out: Path = Path("data/raw"), ids: Sequence[str] = ()) -> Path:
    """Bring a data set to ``out/name``, whole or not at all; nothing is done where it is there already.

    Runs that start together and want the same set wait for the first of them.

    Files come from their official address, or from the folder that ``SCIFLOW_MIRROR`` names. Of an archive of entries
    (``pdb``) those in ``ids`` are brought: ids, or files that list them. Entries that are there stay as they are.

    Raises:
        InputError: an unknown name or id, no connection, a file that is missing or differs from its checksum.
    """
    listed = sources()
    if name not in listed:
        raise InputError(f"unknown data set {name!r}; one of: {', '.join(listed)}")
    source, folder = listed[name], Path(out) / name
    if "entries" in source:
        return _entries(source["entries"], folder, ids)
    if ids:
        raise InputError(f"fetch {name}: comes whole; leave {', '.join(ids)} out")
    made_from = fingerprint(source)
    if finished(folder, "fetch", made_from):
        return folder
    with FileLock(Path(tempfile.gettempdir()) / f"sciflow-fetch-{fingerprint(str(folder.absolute()))}.lock"):
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


def _entries(entry: dict[str, str], folder: Path, ids: Sequence[str]) -> Path:
    """Each entry is whole or not there. Archives revise theirs, so there is no checksum on record."""
    wanted = list(dict.fromkeys(id for given in ids for id in _listed(given, entry["id"])))
    if not wanted:
        raise InputError(f"fetch {folder.name}: say which, by ids or a file that lists them")
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(f"fetch {folder.name}", len(wanted))
    with progress, tempfile.TemporaryDirectory(prefix=".", dir=folder) as scratch:
        for id in wanted:
            one = {key: value.format(id=id) for key, value in entry.items() if key != "id"}
            target = folder / one["path"]
            if not target.exists():
                copy = _mirrored(one) or _download(one["url"], None, Path(scratch))
                os.replace(shutil.copy(copy, Path(scratch) / "entry"), target)
            progress.advance()
    return folder


def _listed(given: str, pattern: str) -> list[str]:
    """The ids that a word, or the words of a file, are. Raises InputError."""
    words, origin = [given], "fetch"
    if Path(given).is_file():
        lines = Path(given).read_text().splitlines()
        words, origin = [word for line in lines for word in re.split(r"[\s,]+", line.partition("#")[0]) if word], given
    for word in words:
        if not re.fullmatch(pattern, word):
            raise InputError(f"{origin}: {word!r} is neither an id such as 1UBQ nor a file that lists ids")
    return [word.upper() for word in words]


def _archive(entry: dict[str, Any], out: Path, scratch: Path) -> None:
    """Unpack the members of an archive, and verify all of them by one checksum where one is on record."""
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
    if not lines:
        raise InputError(f"{packed}: holds none of the files that are wanted; it has changed since it was listed")
    listing = "".join(f"{checksum}  {target}\n" for target, checksum in sorted(lines))
    if "sha256_of_listing" not in entry:
        print(f"fetch: no checksum is on record for {entry['url']}; its files are as they came", file=sys.stderr)
    elif hashlib.sha256(listing.encode()).hexdigest() != entry["sha256_of_listing"]:
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

    pooch.get_logger().setLevel("WARNING")  # a line for each file that has no checksum on record
    try:
        return Path(pooch.retrieve(url, known_hash=sha256, path=folder, progressbar=False))
    except ValueError as error:
        raise InputError(f"{url}: {str(error).splitlines()[0]}") from error
    except OSError as error:  # requests' errors are among them
        raise InputError(
            f"{url}: cannot be downloaded ({type(error).__name__}); check the connection, or set SCIFLOW_MIRROR"
        ) from error
