"""What is published is whole, replaces only what it published before, and knows what it was made from."""

from pathlib import Path

import pytest

from sciflow.pipeline.outputs import fingerprint, finished, listing, publish


def _write(out: Path, made_from: str, **files: str) -> None:
    with publish(out, "stage", made_from) as part:
        for name, text in files.items():
            (part / "deep").mkdir(exist_ok=True)
            (part / "deep" / name).write_text(text)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    _write(tmp_path / "out", "a", x="1")

    def fail() -> None:
        with publish(tmp_path / "out", "stage", "b") as part:
            (part / "x").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert finished(tmp_path / "out", "stage", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("others", [False, True])
def test_a_failure_leaves_no_empty_folder(tmp_path: Path, others: bool) -> None:
    def fail() -> None:
        with publish(tmp_path / "new" / "run" / "data", "stage", "a"):
            if others:
                (tmp_path / "new" / "mine").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.rglob("*")] == (["new", "mine"] if others else [])


def test_files_of_others_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    _write(out, "a", x="1", y="1")
    _write(out, "b", x="2")
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*") if p.is_file()) == [".stage.json", "mine.txt"]
    assert (out / "deep" / "x").read_text() == "2"
    assert not (out / "deep" / "y").exists()


def test_a_missing_file_is_not_finished(tmp_path: Path) -> None:
    _write(tmp_path / "out", "a", x="1")
    assert finished(tmp_path / "out", "stage", "a")
    assert not finished(tmp_path / "out", "stage", "b")
    (tmp_path / "out" / "deep" / "x").unlink()
    assert not finished(tmp_path / "out", "stage", "a")


def test_fingerprint_is_of_the_content() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})


def test_a_folder_is_known_by_what_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.pdb").write_text("a")
    first = listing(tmp_path)
    (tmp_path / ".hidden").write_text("no structure")
    assert listing(tmp_path) == first
    (tmp_path / "b.pdb").write_text("b")
    second = listing(tmp_path)
    (tmp_path / "b.pdb").write_text("bb")
    assert len({first, second, listing(tmp_path)}) == 3
