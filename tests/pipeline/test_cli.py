"""The command line: short help, one line for a mistake, exit codes, and runs that outlive a kill."""

from pathlib import Path

import pytest
import torch
from command import GAUSSIAN, ROOT, TINY, sciflow

from sciflow import cli
from sciflow.training import load_tensors

MOONS = ROOT / "docs/examples/two_moons.py"


def test_help_is_a_tutorial(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    assert "sciflow run study=ala2 --out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([f"study={GAUSSIAN}", "sampler.nn=3"], "unknown key 'sampler.nn': did you mean 'n'?"),
        ([f"study={GAUSSIAN}", "trainer.lr=fast"], "trainer.lr='fast': expected float"),
        ([f"study={GAUSSIAN}", "data.path=none.csv"], "study.data.path=none.csv: no such file"),
        ([f"study={GAUSSIAN}", "data.path=BROKEN"], "broken.csv: could not convert string 'two' to float32"),
        ([f"study={MOONS}", "data.path=CONSTANT"], "constant.csv: a column has the same number in every row"),
        (["study=nothing"], "unknown study 'nothing'"),
        (["n=3"], "name one study: study="),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    args: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "in" / "broken.csv"
    broken.parent.mkdir()
    broken.write_text("x,y\n1,two\n")
    constant = broken.with_name("constant.csv")
    constant.write_text("x,y\n" + "".join(f"{row},0.1\n" for row in range(7)))
    args = [arg.replace("BROKEN", str(broken)).replace("CONSTANT", str(constant)) for arg in args]
    with pytest.raises(SystemExit) as ended:
        cli.main(["prepare", "--out", str(tmp_path / "data"), *args])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("sciflow: error: ")
    assert says in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["study=ala2", "sequence=ACE-FOO-NME"], "unknown residue 'FOO'"),
        (["study=ala2", "pdb=none.pdb"], "study.pdb=none.pdb: no such file"),
    ],
)
def test_config_finds_what_prepare_would(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["config", *args])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_run_does_all_and_says_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    cli.main(["run", f"study={GAUSSIAN}", "--out", str(run), *TINY])
    printed = capsys.readouterr()
    assert "train: 60/60 (100 %)" in printed.err
    row = next(line for line in printed.out.splitlines() if line.startswith("mean"))
    assert row.split() == ["mean", "1.00", "±", "0.5", "40", "0.00", "2.00", "kT"]
    assert str(run / "samples" / "samples.csv") in printed.out

    # without study=, a stage takes the configuration of the one before it
    cli.main(["sample", "--data", str(run / "data"), "--model", str(run / "model"), "--out", str(run / "few"), "n=3"])
    assert len(load_tensors(run / "few" / "samples.safetensors")["x"]) == 3
    cli.main(["evaluate", "--data", str(run / "data"), "--samples", str(run / "few"), "--out", str(run / "report")])
    cli.main(["summary", str(run / "report")])
    assert " 3 " in capsys.readouterr().out


def test_a_study_named_anew_says_what_it_leaves_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    cli.main(["run", f"study={GAUSSIAN}", "--out", str(run), *TINY, "evaluation.value=2"])
    places = ("--data", str(run / "data"), "--model", str(run / "model"), "--out")
    capsys.readouterr()
    cli.main(["sample", f"study={GAUSSIAN}", *places, str(run / "anew" / "samples"), "n=3"])
    lines = [line for line in capsys.readouterr().err.splitlines() if "begins without" in line]
    assert len(lines) == 1
    assert "study.evaluation.value=2.0" in lines[0]
    assert "sampler.n=" not in lines[0]  # set anew
    cli.main(["sample", *places, str(run / "kept" / "samples"), "n=3"])
    assert "begins without" not in capsys.readouterr().err
    (run / "model" / "config.yaml").write_text("name: [")  # a hint refuses nothing
    cli.main(["sample", f"study={GAUSSIAN}", *places, str(run / "unread" / "samples"), "n=3"])


def test_summary_of_nothing_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["summary", str(tmp_path)])
    assert ended.value.code == 2
    assert "no metrics.json" in capsys.readouterr().err


@pytest.mark.e2e
def test_killed_runs_end_as_if_they_were_not(tmp_path: Path) -> None:
    study = f"study={GAUSSIAN}"
    cli.main(["run", study, "--out", str(tmp_path / "whole"), *TINY])
    run = ["run", study, "--out", tmp_path / "killed", *TINY]

    assert sciflow(*run, kill_in="loss").returncode == -9
    assert list((tmp_path / "killed" / ".state").glob("train-*/last.ckpt"))
    assert not (tmp_path / "killed" / "model").exists()

    again = sciflow(*run, kill_in="sample")
    assert again.returncode == -9
    assert "train: continues at 29 of 60" in again.stderr
    assert not (tmp_path / "killed" / "samples").exists()

    last = sciflow(*run)
    assert last.returncode == 0
    assert "sample: continues at 16 of 40" in last.stderr
    for name in ("model/model", "samples/samples"):
        whole, killed = (load_tensors(tmp_path / run / f"{name}.safetensors") for run in ("whole", "killed"))
        assert whole.keys() == killed.keys()
        assert all(torch.equal(whole[key], killed[key]) for key in whole)


@pytest.mark.e2e
@pytest.mark.parametrize(("signal", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_is_answered_by_a_checkpoint(tmp_path: Path, signal: str, code: int) -> None:
    run = ["run", f"study={GAUSSIAN}", "--out", tmp_path / "run", *TINY, "trainer.checkpoint_every=1e9"]
    stopped = sciflow(*run, kill_in="loss", kill_by=signal)
    assert stopped.returncode == code
    assert stopped.stderr.splitlines()[-1] == "sciflow: stopped; the same command continues"
    assert "Traceback" not in stopped.stderr
    # sent within step 30, which is ended; sampling is left at once, and keeps the batches before
    again = sciflow(*run, kill_in="sample", kill_by=signal)
    assert "train: continues at 30 of 60" in again.stderr
    assert again.returncode == code
    assert "sample: continues at 16 of 40" in sciflow(*run).stderr
