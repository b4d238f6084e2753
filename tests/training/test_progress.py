"""Progress in a log file: plain lines, about one every 5 %."""

import pytest

from sciflow.training import Progress


def test_lines_in_a_log_file(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", 1000, done=500) as progress:
        for _ in range(500):
            progress.advance(note="loss 1")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train: continues at 500 of 1000"
    assert [line.split()[1] for line in lines[1:]] == [f"{n}/1000" for n in range(550, 1001, 50)]
    assert "\r" not in "".join(lines)


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", 10, quiet=True) as progress:
        progress.advance(10)
    assert capsys.readouterr().err == ""
