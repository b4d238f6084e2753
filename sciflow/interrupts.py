"""Signals that end a run, SIGINT (Ctrl-C) and SIGTERM (Slurm, Snakemake, ``kill``), and loops that end well on them."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

__all__ = ["Interrupt", "Terminated", "children_end_too", "handled", "stop"]


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as SIGINT is."""


def stop(number: int, frame: FrameType | None = None) -> NoReturn:
    """Raise KeyboardInterrupt for SIGINT, :class:`Terminated` for SIGTERM."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


class Interrupt:
    """A handler for a loop that ends between two of its steps: ``noted`` is the signal, 0 without one.

    SIGINT after another signal acts at once. SIGTERM does not: Slurm and torchrun both send it, and kill who is slow.
    """

    noted = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.noted and number == signal.SIGINT:
            stop(number)
        self.noted = self.noted or number


@contextmanager
def handled(handler: Callable[[int, FrameType | None], Any], *signals: int) -> Iterator[None]:
    """Have signals handled, and restore the handlers that were there.

    In the main thread only: Python takes no handler from another. A signal that is ignored (``nohup``) stays so.
    """
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in signals if here}
    before = {number: was for number, was in before.items() if was is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, signal.SIG_DFL if was is None else was)


@contextmanager
def children_end_too() -> Iterator[None]:
    """Within a pool of processes: when a signal ends this one, their work is not waited for."""
    try:
        yield
    except KeyboardInterrupt:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
