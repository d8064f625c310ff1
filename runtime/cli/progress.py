"""Honest feedback while something long runs: what, since when, and a sign of life every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_HEARTBEAT_S = 4.0


class Progress:
    """Prints to ``stream`` (default: stderr). In a terminal the running line is rewritten every second; in a log
    file a line is added every few seconds, so that neither is ever silent for longer than 5 s."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._lock = threading.Lock()

    @contextmanager
    def task(self, name: str, expectation: str = "") -> Iterator[None]:
        """Announce ``name`` (and what to expect, such as ``last time 3.1 s``), time it, say how it ended."""
        started = time.perf_counter()
        finished = threading.Event()
        hint = f" ({expectation})" if expectation else ""
        self._show(f"{name} ...{hint}")
        beat = threading.Thread(target=self._beat, args=(name, hint, started, finished), daemon=True)
        beat.start()
        outcome = "failed after"
        try:
            yield
            outcome = "done in"
        finally:
            finished.set()
            beat.join()
            self._show(f"{name} {outcome} {time.perf_counter() - started:.1f} s", last=True)

    def note(self, text: str) -> None:
        self._show(text, last=True)

    def _beat(self, name: str, hint: str, started: float, finished: threading.Event) -> None:
        while not finished.wait(1.0 if self._terminal else _HEARTBEAT_S):
            self._show(f"{name} ... {time.perf_counter() - started:.0f} s{hint}")

    def _show(self, text: str, *, last: bool = False) -> None:
        with self._lock:
            if self._terminal:
                self._stream.write(f"\r\x1b[2K{text}" + ("\n" if last else ""))
            else:
                self._stream.write(text + "\n")
            self._stream.flush()
