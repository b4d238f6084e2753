"""What every benchmark here shares: peers or a clear end, times side by side, tables in markdown."""

import importlib
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from statistics import median
from time import perf_counter, process_time
from types import ModuleType
from typing import Any

import torch

__all__ = ["header", "peers", "race", "table"]


def peers(*names: str) -> list[ModuleType]:
    """The packages to compare with; without them, one line and exit status 1."""
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        sys.exit(f'{error.name} is not installed: run pip install -e ".[bench]"')


def header(*distributions: str) -> None:
    """Print the command, the machine and the versions that made the tables below it."""
    torch.set_num_threads(1)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *distributions))
    print(
        f"`python {' '.join(sys.argv)}`\n\n{platform.machine()}, one thread (process time), {device}; {versions}",
        flush=True,
    )


def race(runners: dict[str, Callable[[], Any]], seconds: float = 1.0, device: str = "cpu") -> dict[str, float]:
    """Median time [ms] of each runner over rounds in which all of them run, so that all meet the same machine.

    A round repeats what is short, as timeit does. One call before them warms up. ``seconds`` is for all rounds
    together, of which there are at least 2. On a CPU it is the time of this process, on one thread, which other work
    on the machine does not lengthen.
    """
    clock = perf_counter if device == "cuda" else process_time

    def timed(run: Callable[[], Any], calls: int = 1) -> float:
        start = clock()
        for _ in range(calls):
            run()
        if device == "cuda":
            torch.cuda.synchronize()
        return max((clock() - start) / calls, 1e-6)

    once = {name: timed(run) for name, run in runners.items()}
    calls = {name: max(1, int(0.01 / time)) for name, time in once.items()}
    rounds = max(2, min(100, int(seconds / sum(calls[name] * once[name] for name in once))))
    times = [{name: timed(run, calls[name]) for name, run in runners.items()} for _ in range(rounds)]
    return {name: 1e3 * median(round_[name] for round_ in times) for name in runners}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a markdown table; numbers with three digits."""

    def cell(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"

    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(map(cell, row))} |")
    sys.stdout.flush()
