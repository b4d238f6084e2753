"""Pieces of a genome by their places: letters of an indexed FASTA file, signals of bigWig files."""

import mmap
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import InputError

__all__ = ["BigWig", "Genome"]

_BIGWIG, _CHROMOSOMES, _INDEX = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
_LEAF = np.dtype(
    [("chrom", "<u4"), ("start", "<u4"), ("last", "<u4"), ("end", "<u4"), ("offset", "<u8"), ("size", "<u8")]
)
_STEPS = {  # items of a block by its type: bedGraph, variable and fixed steps
    1: np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")]),
    2: np.dtype([("start", "<u4"), ("value", "<f4")]),
    3: np.dtype([("value", "<f4")]),
}


class Genome:
    """A FASTA file of chromosomes in lines of one length, read where it is asked for.

    Raises:
        InputError: no FASTA, or a compressed one.
    """

    def __init__(self, path: Path) -> None:
        self._bytes = _mapped(path)
        if self._bytes[:1] != b">":
            raise InputError(f"{path}: not a FASTA file (no '>' first); unpack it if it is compressed")
        self._places: dict[str, tuple[int, int, int]] = {}
        headers = list(re.finditer(rb"^>(\S+)[^\n]*\n", self._bytes, re.MULTILINE))
        for header, stop in zip(headers, [h.start() for h in headers[1:]] + [len(self._bytes)], strict=True):
            line = self._bytes.find(b"\n", header.end(), stop)
            width = (line if line > 0 else stop) - header.end()
            last = stop - header.end()
            self._places[header[1].decode()] = header.end(), width, last - last // (width + 1)

    def letters(self, chrom: str, start: int, end: int) -> str:
        """Capital letters of ``[start, end)``, counted from 0; empty beyond the ends, or on no known chromosome."""
        offset, width, length = self._places.get(chrom) or self._places.get(chrom.removeprefix("chr"), (0, 1, 0))
        if start < 0 or end > length:
            return ""
        first, last = (offset + place // width * (width + 1) + place % width for place in (start, end))
        return self._bytes[first:last].replace(b"\n", b"").decode().upper()


class BigWig:
    """Signals along chromosomes, from the binary format of the UCSC genome browser, by its index.

    Source: Kent et al. 2010, https://doi.org/10.1093/bioinformatics/btq351.

    Raises:
        InputError: no bigWig file.
    """

    def __init__(self, path: Path) -> None:
        self._bytes = _mapped(path)
        if len(self._bytes) < 64 or self._read("<I", 0) != (_BIGWIG,):
            raise InputError(f"{path}: not a bigWig file of this byte order; write it again with bedGraphToBigWig")
        chromosomes, _, index = self._read("<QQQ", 8)
        (self._packed,) = self._read("<I", 52)
        magic, _, key, _ = self._read("<4I", chromosomes)
        if magic != _CHROMOSOMES or self._read("<I", index) != (_INDEX,):
            raise InputError(f"{path}: its index is damaged; write it again with bedGraphToBigWig")
        names = np.dtype([("name", f"S{key}"), ("id", "<u4"), ("length", "<u4")])
        listed = self._leaves(chromosomes + 32, names, key)
        self._ids = {row["name"].decode(): int(row["id"]) for row in listed}
        leaves = self._leaves(index + 48, _LEAF, 16)
        self._blocks = {number: leaves[leaves["chrom"] == number] for number in self._ids.values()}

    def values(self, chrom: str, start: int, end: int) -> np.ndarray:
        """Signal ``(end − start,)`` at ``[start, end)``, counted from 0; zero where there is none."""
        found = np.zeros(end - start, dtype=np.float32)
        blocks = self._blocks.get(self._ids.get(chrom, -1), np.empty(0, _LEAF))
        for block in blocks[(blocks["end"] > start) & (blocks["start"] < end)]:
            starts, ends, values = self._items(block)
            for i in ((ends > start) & (starts < end)).nonzero()[0]:
                found[max(starts[i] - start, 0) : ends[i] - start] = values[i]
        return found

    def _items(self, block: np.void) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Starts, ends and values of a block."""
        raw = self._bytes[int(block["offset"]) : int(block["offset"] + block["size"])]
        raw = zlib.decompress(raw) if self._packed else raw
        _, begin, _, step, span, kind, _, count = struct.unpack_from("<5IBBH", raw)
        items = np.frombuffer(raw, _STEPS[kind], count, 24)
        fixed = begin + step * np.arange(count)
        starts = (fixed if kind == 3 else items["start"]).astype(np.int64)
        return starts, items["end"].astype(np.int64) if kind == 1 else starts + span, items["value"]

    def _leaves(self, offset: int, leaf: np.dtype, key: int) -> np.ndarray:
        """All leaves of a tree whose nodes have ``key`` bytes before the place of a child."""
        is_leaf, _, count = self._read("<BBH", offset)
        if is_leaf:
            return np.frombuffer(self._bytes, leaf, count, offset + 4)
        children = (self._read("<Q", offset + 4 + (key + 8) * i + key)[0] for i in range(count))
        return np.concatenate([self._leaves(child, leaf, key) for child in children])

    def _read(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(layout, self._bytes, offset)


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except ValueError as error:
        raise InputError(f"{path}: an empty file") from error
