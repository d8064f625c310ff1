"""What ends a command from outside: Ctrl-C, SIGTERM, and SIGHUP when its terminal is closed."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_ONCE_S = 1.0  # signals that come so soon after another ask for nothing new


class Interrupted(KeyboardInterrupt):
    """One of them came. number: its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """Of a command that it ended: 128 and the signal's number."""
    return 128 + (stop.number if isinstance(stop, Interrupted) else int(signal.SIGINT))


class Interrupts:
    """Inside, each of the signals raises Interrupted, and impatient repetitions do not disturb the cleaning up.
    One that whoever started the command has it ignore (``nohup``, a shell's ``&``) stays ignored."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._last = float("-inf")

    def __enter__(self) -> Interrupts:
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if before not in (signal.SIG_IGN, None):
                self._before[number] = before
                signal.signal(number, self._raise)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def end(self) -> None:
        """From here on nothing interrupts: the process ends anyhow."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        self._before.clear()

    def _raise(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        soon, self._last = now - self._last < _ONCE_S, now
        if not soon:
            raise Interrupted(number)
