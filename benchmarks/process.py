"""The parent's side of a worker: start it, ask it, stop it between its turns, end it."""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from runtime.errors import EngineError
from runtime.machine.gpu import pci_bus_id

ROOT = Path(__file__).parent.parent
_first_gpu = functools.cache(pci_bus_id)


class WorkerError(EngineError):
    """A worker could not do what it was asked. kind: the name of the exception in it; "" when it crashed or hung."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class WorkerProcess:
    """One worker. Between two calls it is stopped (SIGSTOP): no thread of its engine spins while another one runs."""

    def __init__(self, folder: Path, name: str, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._log = folder / f"{name}.log"
        read_commands, write_commands = os.pipe()
        read_answers, write_answers = os.pipe()
        words = [sys.executable, "-m", "benchmarks.worker", str(read_commands), str(write_answers), str(os.getpid())]
        words.append(_first_gpu() or "")
        path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(read_commands, write_answers),
                env={**os.environ, "PYTHONPATH": path, **environment},
            )
        os.close(read_commands)
        os.close(write_answers)
        self._commands = os.fdopen(write_commands, "w")
        self._answers = read_answers
        self._stopped = False

    def ask(self, do: str, limit_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """The answer to one command. Raises WorkerError: what the worker raised, that it crashed, or that it took
        longer than ``limit_s`` (it is then ended)."""
        if self._stopped:
            os.kill(self._process.pid, signal.SIGCONT)
            self._stopped = False
        try:
            self._commands.write(json.dumps({"do": do, **arguments}) + "\n")
            self._commands.flush()
        except BrokenPipeError:
            raise WorkerError(self._ending()) from None
        answer: dict[str, Any] = json.loads(self._line(do, limit_s))
        os.kill(self._process.pid, signal.SIGSTOP)
        self._stopped = True
        if "error" in answer:
            raise WorkerError(answer["error"] or answer["kind"], answer["kind"])
        return answer

    def close(self) -> None:
        """End the worker, whatever it does."""
        self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):  # a command that a dead worker did not read
            self._commands.close()
        os.close(self._answers)

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _line(self, do: str, limit_s: float | None) -> bytes:
        content = b""
        until = None if limit_s is None else time.monotonic() + limit_s
        while not content.endswith(b"\n"):
            rest = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([self._answers], [], [], rest)[0]:
                self._process.kill()
                raise WorkerError(f"no answer to {do!r} in {limit_s:g} s; it was ended")
            chunk = os.read(self._answers, 1 << 16)
            if not chunk:
                raise WorkerError(self._ending())
            content += chunk
        return content

    def _ending(self) -> str:
        code = self._process.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        memory = " (out of memory?)" if code == -signal.SIGKILL else ""
        tail = " ".join(self._log.read_text(errors="replace").split())[-300:]
        return f"the worker ended by itself with {how}{memory}: {tail or 'it said nothing'}"
