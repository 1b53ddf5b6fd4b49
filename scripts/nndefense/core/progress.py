"""Progress of long work: items per second and time left, in the job's log, and as a bar on a terminal."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from nndefense.core.job_log import JobLog
from nndefense.core.text import visible

LOG_EVERY_SECONDS = 5.0


class Progress:
    """Counts items; writes a line to `log` every few seconds and draws a tqdm bar where stderr is a terminal.

    Use as a context manager: `with Progress("attack", total=1000, unit="images", log=handle) as progress:`. A total of
    None is not known beforehand.
    """

    def __init__(self, task: str, total: int | None, unit: str, log: TextIO | JobLog | None = None) -> None:
        self.task, self.total, self.unit, self.log = task, total, unit, log
        self.done = 0
        self.bar: Any = None

    def __enter__(self) -> "Progress":
        self.start = self.last = time.monotonic()
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=self.total, desc=visible(self.task), unit=f" {self.unit}", leave=False)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        if kind is None:
            self._line("done")

    def advance(self, items: int, note: str = "") -> None:
        """Count `items` more as done; `note` (e.g. the loss) goes with the next line."""
        self.done += items
        if self.bar is not None:
            self.bar.set_postfix_str(visible(note), refresh=False)
            self.bar.update(items)
        now = time.monotonic()
        if now - self.last >= LOG_EVERY_SECONDS:
            self.last = now
            self._line(note)

    def _line(self, note: str) -> None:
        if self.log is None:
            return
        seconds = max(time.monotonic() - self.start, 1e-9)
        rate = self.done / seconds
        of, left = "", ""
        if self.total is not None:
            of = f"/{self.total:,}"
            left = f", ETA {(self.total - self.done) / rate if rate else float('inf'):.0f} s"
        text = f"{self.task}: {self.done:,}{of} {self.unit}, {rate:,.1f}/s, {seconds:.0f} s so far{left}"
        print(visible(f"{text}, {note}" if note else text), file=self.log, flush=True)


def blocks(total: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover range(total)."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def counted(items: Iterable, progress: Progress, size: Callable[[Any], int] = lambda item: 1) -> Iterator:
    """Iterate over `items` and advance `progress` by the size of each."""
    for item in items:
        yield item
        progress.advance(size(item))
