"""Progress for people: a bar on a terminal, a plain line now and then in a log file."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

__all__ = ["Progress"]


class Progress:
    """Counts to ``total``, starting at ``done``; prints to standard error.

    Without a terminal a line is printed every 5 % of the way, and at least every 20 seconds.
    """

    def __init__(self, label: str, total: int, done: int = 0, quiet: bool = False) -> None:
        self.label, self.total, self.done, self.start = label, total, done, done
        self.began = self.printed_at = time.monotonic()
        self.printed = done
        terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=done, desc=label) if terminal and not quiet else None
        self.quiet = quiet or terminal
        if done:
            self.say(f"continues at {done} of {total}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, n: int = 1, note: str = "") -> None:
        """``n`` more are done; ``note`` is printed behind the count."""
        self.done += n
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(n)
        now = time.monotonic()
        if self.done < self.total and self.done - self.printed < self.total / 20 and now - self.printed_at < 20:
            return
        self.printed, self.printed_at = self.done, now
        elapsed = now - self.began
        left = elapsed / max(self.done - self.start, 1) * (self.total - self.done)
        self.say(
            f"{self.done}/{self.total} ({100 * self.done // self.total} %)  {note}  {elapsed:.0f} s, {left:.0f} s left"
        )

    def say(self, text: str) -> None:
        """One plain line, where there is no bar."""
        if not self.quiet:
            print(f"{self.label}: {text}", file=sys.stderr, flush=True)
