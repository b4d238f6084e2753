"""Structures from one file, a folder or an archive."""

import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError
from ..training import Progress
from .structure import SUFFIXES, Chain, parse_structure

__all__ = ["read_structures"]

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")


def read_structures(path: Path, quiet: bool = False) -> tuple[list[Chain], list[str], list[str]]:
    """Chains of all PDB and mmCIF files of a file, a folder or an archive (tar, packed or not, or zip).

    And what was left out of files, and why files could not be read, which a line on stderr counts. Chains are named by
    the path inside it, and sorted by it.

    Raises:
        InputError: no such file, not an archive, no chain in it, a bad file where it is the only one.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    chains: list[Chain] = []
    notes: list[str] = []
    unread: list[str] = []
    try:
        total, files = _files(path)
        with Progress(f"structures of {path.name}", total, quiet=quiet or total == 1) as progress:
            for name, content in files:
                try:
                    found, left_out = parse_structure(content, name)
                    chains += found
                    notes += left_out
                except InputError as error:
                    if total == 1:
                        raise
                    unread.append(str(error))
                progress.advance()
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not chains:
        raise InputError(f"{path}: no structure in it that could be read; give files *{', *'.join(SUFFIXES)}")
    if unread:
        more = ", …" if len(unread) > 1 else ""
        print(
            f"{path}: {len(unread)} of {total} files could not be read ({unread[0]}{more})", file=sys.stderr, flush=True
        )
    return sorted(chains, key=lambda chain: chain.name), notes, unread


def _files(path: Path) -> tuple[int, Iterator[tuple[str, bytes]]]:
    """How many structures there are, and their names and contents, one after the other."""
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        names = [name for name in names if _is_structure(name)]
        return len(names), ((name, (path / name).read_bytes()) for name in names)
    if not path.name.lower().endswith(_ARCHIVES):
        return 1, iter([(path.name, path.read_bytes())])
    if path.suffix.lower() == ".zip":
        packed = zipfile.ZipFile(path)
        names = [name for name in packed.namelist() if _is_structure(name)]
        return len(names), ((name, packed.read(name)) for name in names)
    tar = tarfile.open(path)  # noqa: SIM115
    members = [member for member in tar if member.isfile() and _is_structure(member.name)]
    streams = ((member.name, tar.extractfile(member)) for member in members)
    return len(members), ((name, stream.read()) for name, stream in streams if stream is not None)


def _is_structure(name: str) -> bool:
    hidden = any(part.startswith(".") and part != "." for part in name.split("/"))
    return not hidden and name.lower().removesuffix(".gz").endswith(SUFFIXES)
