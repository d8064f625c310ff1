"""What a command shows while something long runs: what, since when, how much is left, and a sign of life."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from .command import ROOT, printable

_REWRITE_S = 1.0  # in a terminal
_HEARTBEAT_S = 4.0  # between two lines in a log file, while one task runs
_COUNT_S = 8.0  # the same over many items, which may take hours together
_BAR = 24


class Progress:
    """Prints to ``stream`` (default: stderr). In a terminal one line is rewritten every second. In a log file a task
    adds a line every few seconds, and so does a count over many items."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._lock = threading.Lock()

    @contextmanager
    def task(self, name: str, expectation: str = "") -> Iterator[None]:
        """Announce ``name`` (and what to expect, such as ``last time 3.1 s``), time it, say how it ended."""
        started = time.perf_counter()
        hint = f" ({expectation})" if expectation else ""
        self._show(f"{name} ...{hint}")
        outcome = "failed after"
        try:
            with self._beat(_HEARTBEAT_S, lambda: f"{name} ... {time.perf_counter() - started:.0f} s{hint}"):
                yield
            outcome = "done in"
        except KeyboardInterrupt:
            outcome = "interrupted after"
            raise
        finally:
            self.note(f"{name} {outcome} {time.perf_counter() - started:.1f} s")

    @contextmanager
    def count(self, total: int, unit: str) -> Iterator[Callable[[str], None]]:
        """Show how far a loop over ``total`` items (each a ``unit``, such as "photo") has come. Yields what is called
        as an item begins, with its name. In a terminal the bar stays
        when the loop has ended. A log file hears nothing of the first seconds."""
        begun, done, item, started = 0, 0, "", time.perf_counter()
        finished = started  # with the items before the last one that began

        def begin(name: str) -> None:
            nonlocal begun, done, item, finished
            begun, done, item, finished = begun + 1, begun, name, time.perf_counter()
            if self._terminal:
                self._show(shown())

        def shown() -> str:
            passed = time.perf_counter() - started
            filled = _BAR * done // total
            bar = f"[{'#' * filled}{'.' * (_BAR - filled)}] " if self._terminal else ""
            pace = f"{passed:.0f} s"
            if done:
                each = max(finished - started, 1e-9) / done
                pace = f"{1 / each:.3g} {unit}s a second, {_duration(max(0.0, each * total - passed))} left"
            return f"{bar}{done}/{total}, {pace}  {printable(item)}"

        try:
            with self._beat(_COUNT_S, shown):
                yield begin
            done, item, finished = begun, "", time.perf_counter()
        finally:
            if self._terminal and begun and total > 1:
                self.note(shown().rstrip())
            else:
                self._show("")

    def note(self, text: str) -> None:
        """A line that stays."""
        self._show(text, last=True)

    @contextmanager
    def warnings(self) -> Iterator[None]:
        """Show the warnings that our modules log as notes: logging's own way to stderr would write into a bar."""
        handler, logger = _Notes(self), logging.getLogger(ROOT)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)

    @contextmanager
    def _beat(self, log_s: float, text: Callable[[], str]) -> Iterator[None]:
        """Show ``text()`` again and again inside."""
        finished = threading.Event()

        def beat() -> None:
            while not finished.wait(_REWRITE_S if self._terminal else log_s):
                self._show(text())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()

    def _show(self, text: str, *, last: bool = False) -> None:
        with self._lock:
            if self._terminal:
                width = shutil.get_terminal_size().columns - 1  # a wrapped line cannot be rewritten
                shown = f"{text}\n" if last else text[:width]
                self._stream.write(f"\r\x1b[2K{shown}")
            elif text:
                self._stream.write(f"{text}\n")
            self._stream.flush()


class _Notes(logging.Handler):
    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.note(printable(record.getMessage()))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
