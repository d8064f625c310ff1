"""The user's own ffmpeg: found, asked for its version, started, ended, and its words kept."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from functools import cache
from typing import IO, Any

from ...errors import BackendUnavailableError, InputError

_PACKAGES = {
    "ffmpeg": "`apt install ffmpeg`, `brew install ffmpeg` or `winget install ffmpeg`",
    "gst-launch-1.0": "`apt install gstreamer1.0-tools gstreamer1.0-plugins-good`",
}
_FIRST = 2  # lines of a process that are kept beside its newest one


@cache
def program(name: str) -> str:
    """The path of ``ffmpeg``, ``ffprobe`` or ``gst-launch-1.0``. Raises BackendUnavailableError."""
    found = shutil.which(name)
    if found is None:
        cure = _PACKAGES[name if name in _PACKAGES else "ffmpeg"]
        raise BackendUnavailableError(f"{name} is not on this machine's PATH, and video needs it; run {cure}.")
    return found


@cache
def version() -> tuple[int, int]:
    """Of ffmpeg, such as (5, 1); (99, 0) for one built from its development branch, which has no number."""
    text = subprocess.run([program("ffmpeg"), "-version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"ffmpeg version n?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (99, 0)


def every_frame() -> list[str]:
    """The option by which ffmpeg neither drops nor repeats a frame."""
    return ["-fps_mode" if version() >= (5, 1) else "-vsync", "passthrough"]


class Process:
    """A program that runs beside this one, with the first lines and the last that it wrote to stderr. End it with
    :meth:`kill` or :meth:`wait`, whatever happens."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self.name = command[0].rsplit("/", 1)[-1]
        # a session of its own: Ctrl-C is for this program, which ends the others in their order
        self._process = subprocess.Popen(list(command), stderr=subprocess.PIPE, start_new_session=True, **options)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, name=f"diffll-{self.name}", daemon=True)
        self._reader.start()

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = re.sub(r"^(\[[^\]]*\] )+", "", line.decode("utf-8", "replace").strip())
            if text and text not in self._lines:
                del self._lines[_FIRST:]
                self._lines.append(text)

    def wait(self) -> int:
        """Its exit status, when it has ended by itself and its last words are there."""
        code = self._process.wait()
        self._reader.join()
        return code

    def kill(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what it held back cannot be written to a process that is gone
                    stream.close()
        self._process.kill()
        self.wait()

    @property
    def words(self) -> str:
        """What it said, without ffmpeg's addresses before it; may be empty. ffmpeg names the cause first and
        then, in newer versions on many lines, what came of it; the last line is there for one that ran well so far."""
        return "; ".join(self._lines)


def failure(what: str, process: Process, cure: str) -> InputError:
    """The error of a process that ended with a status other than 0."""
    return InputError(f"{what} ({process.name}: {process.words or 'it said nothing'}); {cure}.")
