"""Pieces of genomes: FASTA by places, and bigWig files that are written here, byte by byte."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from sciflow.errors import InputError
from sciflow.sequences.genome import BigWig, Genome

LENGTH = 400


def write_bigwig(path: Path, signals: dict[str, np.ndarray], packed: bool = True) -> None:
    """Blocks of the three kinds in turn, one a chromosome, each below a node of the index."""
    names = sorted(signals)
    width = max(map(len, names))
    leaf = b"".join(n.encode().ljust(width, b"\0") + struct.pack("<II", i, LENGTH) for i, n in enumerate(names))
    tree = struct.pack("<IIIIQQ", 0x78CA8C91, 256, width, 8, len(names), 0)
    tree += struct.pack("<BBH", 1, 0, len(names)) + leaf
    data, entries, offset = b"", [], 64 + len(tree)
    for i, name in enumerate(names):
        values, kind = signals[name], i % 3 + 1
        head = struct.pack("<5IBBH", i, 0, len(values), 1, 1, kind, 0, len(values))
        rows = {
            1: [struct.pack("<IIf", p, p + 1, v) for p, v in enumerate(values)],
            2: [struct.pack("<If", p, v) for p, v in enumerate(values)],
            3: [struct.pack("<f", v) for v in values],
        }[kind]
        block = head + b"".join(rows)
        block = zlib.compress(block) if packed else block
        entries.append(struct.pack("<IIIIQQ", i, 0, i, len(values), offset, len(block)))
        data, offset = data + block, offset + len(block)
    index = struct.pack("<IIQIIIIQII", 0x2468ACE0, 256, len(names), 0, 0, len(names), 0, offset, 1, 0)
    first = offset + len(index) + 4 + 24 * len(entries)
    index += struct.pack("<BBH", 0, 0, len(entries))
    for i in range(len(entries)):
        index += struct.pack("<IIIIQ", i, 0, i, LENGTH, first + 36 * i)
    index += b"".join(struct.pack("<BBH", 1, 0, 1) + entry for entry in entries)
    head = struct.pack("<IHHQQQHHQQIQ", 0x888FFC26, 4, 0, 64, 64 + len(tree), offset, 0, 0, 0, 0, 65536 * packed, 0)
    path.write_bytes(head + tree + data + index)


@pytest.mark.parametrize("packed", [True, False])
def test_signals_are_those_that_were_written(tmp_path: Path, packed: bool) -> None:
    rng = np.random.default_rng(0)
    signals = {f"chr{i}": rng.normal(size=LENGTH).astype(np.float32) for i in (1, 2, 10)}
    write_bigwig(tmp_path / "a.bw", signals, packed)
    read = BigWig(tmp_path / "a.bw")
    for name, values in signals.items():
        for start, end in ((0, LENGTH), (17, 18), (350, LENGTH)):
            np.testing.assert_array_equal(read.values(name, start, end), values[start:end])
        beyond = read.values(name, LENGTH - 5, LENGTH + 5)
        np.testing.assert_array_equal(beyond, np.r_[values[-5:], np.zeros(5)])
    assert not read.values("chrM", 0, 9).any()


@pytest.mark.parametrize(("width", "end"), [(7, "\n"), (50, ""), (1000, "\n")])
def test_letters_are_those_of_the_whole_chromosome(tmp_path: Path, width: int, end: str) -> None:
    rng = np.random.default_rng(1)
    chromosomes = {name: "".join(rng.choice(list("ACGTNacgt"), n)) for name, n in (("1", 103), ("chr2", 350), ("X", 1))}
    text = ""
    for name, letters in chromosomes.items():
        text += f">{name} of a test\n" + "\n".join(letters[i : i + width] for i in range(0, len(letters), width)) + "\n"
    (tmp_path / "g.fa").write_text(text.removesuffix("\n") + end)
    genome = Genome(tmp_path / "g.fa")
    for name, letters in chromosomes.items():
        known = name if name.startswith("chr") else f"chr{name}"  # Ensembl's names, and those of UCSC
        for start in range(0, len(letters), 11):
            for stop in (start + 1, start + 25, len(letters)):
                expected = letters[start:stop].upper() if stop <= len(letters) else ""
                assert genome.letters(known, start, stop) == expected
        assert genome.letters(known, -1, 1) == ""
    assert genome.letters("chr3", 0, 1) == ""


def test_other_files_are_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(InputError, match="not a bigWig file"):
        BigWig(tmp_path / "a")
    with pytest.raises(InputError, match=r"not a FASTA file .* unpack it"):
        Genome(tmp_path / "a")
    with pytest.raises(InputError, match="no such file"):
        Genome(tmp_path / "b")
