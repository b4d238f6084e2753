"""The command line: ``sciflow prepare|train|sample|evaluate|rectify|run|…``; ``sciflow --help`` lists all."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__
from .errors import InputError
from .interrupts import Terminated, handled, stop

if TYPE_CHECKING:
    from .pipeline.config import Config

__all__ = ["main"]

TUTORIAL = """\
A study is data, a model and a question. It runs in four stages, each from files to files:

  sciflow run study=ala2 --out results/mine               # all four
  sciflow summary results/mine                            # what came out
  sciflow summary results/rna-*                           # several runs side by side, averaged over seeds

  sciflow prepare study=ala2 --out r/data                 # or one by one
  sciflow train   study=ala2 --data r/data --out r/model
  sciflow sample  --data r/data --model r/model --out r/samples n=5000
  sciflow evaluate --data r/data --samples r/samples --out r

  sciflow rectify --data r/data --model r/model --out fast/pairs n=20000      # straighter paths, fewer steps
  sciflow train   --data fast/pairs --out fast/model                          # then sample and evaluate as before

Settings are given as key=value, anywhere on the line; a mistyped key or value stops at once and says so:

  sciflow config study=ala2                               # every setting and its default
  sciflow run study=peptide --out r sequence=ACE-ALA-ALA-NME trainer.steps=4000 n=2000
  sciflow run study=peptide --out r pdb=my.pdb
  sciflow run study=my_study.py --out r data.path=my.csv  # a study of your own is one Python file

The same command again continues a run that was killed, and draws only the samples that are missing.
Many runs, clusters and a report: snakemake -s workflows/Snakefile --cores 2
"""

OUT = {
    "reference": "tables",
    "prepare": "data",
    "train": "model",
    "sample": "samples",
    "rectify": "pairs",
    "evaluate": "metrics and figures",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. A mistake in the input is one line on standard error and exit code 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        # intermixed: overrides stand anywhere between flags; argparse has it for parsers without subcommands only
        command = argv.pop(0) if argv and argv[0] in _COMMANDS else None
        if command is None:
            _usage().parse_args(argv or ["--help"])
            return
        args = _parser(command).parse_intermixed_args(argv)
        with handled(stop, signal.SIGTERM):
            _COMMANDS[command](args)
    except InputError as error:
        print(f"sciflow: error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # … | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"sciflow: error: {error.filename}: {error.strerror}; choose another place or mend it", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as error:
        print("sciflow: stopped; the same command continues", file=sys.stderr)
        sys.exit(128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT))


def _usage() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sciflow", description=TUTORIAL, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"sciflow {__version__}")
    parser.add_argument("command", choices=_COMMANDS, help="`sciflow COMMAND --help` says more")
    return parser


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"sciflow {command}", description=_COMMANDS[command].__doc__)
    if command == "summary":
        parser.add_argument(
            "folders",
            type=Path,
            nargs="+",
            metavar="folder",
            help="of a run, such as results/ala2; several are compared, those named NAME-SEED averaged",
        )
        return parser
    if command == "fetch":
        parser.add_argument("name", nargs="?", help="name of a data set; without one, all are listed")
        parser.add_argument("ids", nargs="*", help="entries of pdb, such as 1UBQ, or a file that lists them")
        parser.add_argument("--out", type=Path, default=Path("data/raw"), help="default: data/raw")
        return parser
    if command == "self-consistency":
        parser.add_argument("--samples", type=Path, required=True, help="folder of backbones, SAMPLE.pdb")
        parser.add_argument("--folded", type=Path, required=True, help="folder of SAMPLE.pdb, SAMPLE_1.cif, …")
        parser.add_argument("--out", type=Path, required=True, help="folder for self_consistency.json and .csv")
        return parser
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="study=NAME or FILE.py, model=NAME, settings")
    if command == "config":
        return parser
    parser.add_argument("--out", type=Path, required=True, help=f"folder for the {OUT.get(command, 'run')}")
    if command == "reference":
        parser.add_argument("--walkers", type=int, default=4, help="independent runs; default: 4")
        parser.add_argument("--rounds", type=int, default=40_000, help="length of each; default: 40000")
        engines = ("auto", "openmm", "torch")
        parser.add_argument("--engine", choices=engines, default="auto", help="auto is torch on a GPU")
    if command in ("prepare", "run"):
        parser.add_argument("--raw", type=Path, help="folder of fetched data; default: data/raw, if it is there")
    if command in ("train", "sample", "evaluate", "rectify"):
        parser.add_argument("--data", type=Path, required=True, help="folder written by prepare")
    if command in ("sample", "rectify"):
        parser.add_argument("--model", type=Path, required=True, help="folder written by train")
    if command == "evaluate":
        parser.add_argument("--samples", type=Path, required=True, help="folder written by sample")
    if command in ("train", "sample", "rectify"):
        parser.add_argument("--state", type=Path, help="folder to continue from; default: .state beside --out")
    return parser


def _config(args: argparse.Namespace, earlier: Path | None = None) -> "Config":
    """The configuration of ``study=…``; without it, the one that an earlier stage saved. Overrides on top."""
    from .pipeline.config import left_behind, load_config, options, read_config

    studies = [o.removeprefix("study=") for o in args.overrides if o.startswith("study=")]
    overrides = [o for o in args.overrides if not o.startswith("study=")]
    if len(studies) == 1:
        saved = args.model / "config.yaml" if "model" in args else None
        if lost := left_behind(studies[0], overrides, saved) if saved else []:
            beginning = f"study={studies[0]} begins without {', '.join(lost)} of {saved}"
            print(f"sciflow: {beginning}; leave study=… out to keep that", file=sys.stderr)
        return load_config(studies[0], overrides)
    if studies or earlier is None:
        raise InputError(f"name one study: study=…, one of {', '.join(options('study'))}, or a Python file")
    return read_config(earlier / "config.yaml", overrides)


def _raw(args: argparse.Namespace) -> Path | None:
    if args.raw is not None and not args.raw.is_dir():
        raise InputError(f"--raw {args.raw}: no such folder; `sciflow fetch NAME --out {args.raw}` makes it")
    return args.raw or (Path("data/raw") if Path("data/raw").is_dir() else None)


def _prepare(args: argparse.Namespace) -> None:
    """Raw files to tensors, split into train, val and test."""
    config = _config(args)
    from .pipeline import prepare

    prepare(config, args.out, _raw(args))


def _train(args: argparse.Namespace) -> None:
    """Fit the model. The same command continues a run that was killed."""
    config = _config(args, args.data)
    if _launched(config, ["train", *args.overrides, f"--data={args.data}", f"--out={args.out}"], args.state):
        return
    from .pipeline import train

    train(config, args.data, args.out, args.state)


def _sample(args: argparse.Namespace) -> None:
    """Draw samples from the trained model. A larger n adds to those that are there."""
    config = _config(args, args.model)
    from .pipeline import sample

    sample(config, args.data, args.model, args.out, args.state)


def _evaluate(args: argparse.Namespace) -> None:
    """Metrics and figures, each beside its reference and its floor."""
    config = _config(args, args.samples)
    from .pipeline import evaluate

    evaluate(config, args.data, args.samples, args.out)


def _rectify(args: argparse.Namespace) -> None:
    """Draw pairs of noise and sample from the trained model, to train it again on: its paths become straighter.

    ``sciflow train --data PAIRS`` then goes on from its weights, and fewer sampler.steps do. Say n=… for the pairs.
    """
    config = _config(args, args.model)
    from .pipeline import rectify

    rectify(config, args.data, args.model, args.out, args.state)


def _run(args: argparse.Namespace) -> None:
    """All four stages: prepare, train, sample, evaluate."""
    config = _config(args)
    from . import pipeline

    out = args.out
    pipeline.prepare(config, out / "data", _raw(args))
    if not _launched(config, ["train", *args.overrides, f"--data={out / 'data'}", f"--out={out / 'model'}"]):
        pipeline.train(config, out / "data", out / "model")
    pipeline.sample(config, out / "data", out / "model", out / "samples")
    pipeline.evaluate(config, out / "data", out / "samples", out)
    _print_summary(out)


def _reference(args: argparse.Namespace) -> None:
    """Simulate the converged reference that a study is compared with. More walkers add to those that are there.

    Show it beside the samples of a run with evaluation.reference=FOLDER.
    """
    config = _config(args)
    if not hasattr(config.study, "make_reference"):
        raise InputError(f"study {config.name} has no reference to simulate")
    print(config.study.make_reference(args.out, args.walkers, args.rounds, args.engine))


def _show_config(args: argparse.Namespace) -> None:
    """Every setting of a study, as it would run."""
    import yaml

    from .pipeline.identity import check_files

    config = _config(args)
    check_files(config.study, "study")
    print(yaml.safe_dump(config.tree, sort_keys=False, allow_unicode=True), end="")


def _fetch(args: argparse.Namespace) -> None:
    """Download a data set from its official source and verify its checksum.

    Where SCIFLOW_MIRROR names a folder, the files are copied from there instead.
    """
    from .pipeline.fetch import fetch, sources

    if args.name is None:
        for name, source in sources().items():
            print(f"{name:20s} {source['licence']:45s} {source['title']}")
        return
    print(fetch(args.name, args.out, args.ids))


def _summary(args: argparse.Namespace) -> None:
    """Where to look: report, structures, metrics with their floors and references. Several runs make one table."""
    _print_summary(*args.folders)


def _print_summary(*folders: Path) -> None:
    from .pipeline.summary import comparison, summary

    print(summary(folders[0]) if len(folders) == 1 else comparison(folders))


def _self_consistency(args: argparse.Namespace) -> None:
    """Backbones against structures that a folding model of your own made of sequences designed for them."""
    from .pipeline.outputs import fingerprint, publish
    from .proteins.self_consistency import self_consistency, write_self_consistency

    scores = self_consistency(args.samples, args.folded)
    with publish(args.out, "self-consistency", fingerprint(scores)) as part:
        write_self_consistency(scores, part)
    print(args.out / "self_consistency.json")


def _launched(config: "Config", command: list[str], state: Path | None = None) -> bool:
    """Start ``trainer.devices`` processes with torchrun, unless it is one or they run already."""
    devices = config.trainer.devices
    if devices == 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        return False
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    command = [*torchrun, "-m", "sciflow", *command, *([f"--state={state}"] if state else [])]
    with subprocess.Popen(command, process_group=0) as launched:  # Ctrl-C comes to it from here only, and once
        try:
            launched.wait()
        except KeyboardInterrupt:
            launched.terminate()
            launched.wait()
            raise
    if launched.returncode:
        sys.exit(launched.returncode)
    return True


_COMMANDS = {
    "prepare": _prepare,
    "train": _train,
    "sample": _sample,
    "evaluate": _evaluate,
    "rectify": _rectify,
    "self-consistency": _self_consistency,
    "run": _run,
    "reference": _reference,
    "config": _show_config,
    "fetch": _fetch,
    "summary": _summary,
}
