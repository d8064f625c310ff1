"""Where frames come from: a clip, a camera, or raw bytes on a pipe."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .clip import LOCAL, Clip
from .ffmpeg import Process, every_frame, failure, program

_QUIET = ["-v", "error", "-nostdin"]
_SPAWN_S = 20.0  # a camera that sends nothing for so long is not there


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a stream."""

    pixels: NDArray[np.uint8]
    """(H, W, 3) uint8, RGB."""
    time_ns: int
    """When it is shown, in nanoseconds on the source's clock."""


class Source(Protocol):
    """Frames of one size, in order. Close it, whatever happens."""

    width: int
    height: int
    frame_rate: Fraction
    """Frames a second: the mean."""
    total: int
    """Frames; 0: not known."""

    def frames(self) -> Iterator[Frame]:
        """Raises InputError where the source breaks off."""

    def close(self) -> None: ...


class ClipSource:
    """A file's frames, decoded by ffmpeg, which turns those of a clip with a rotation upright."""

    def __init__(self, clip: Clip) -> None:
        sideways = clip.rotation in (90, 270)
        self.width, self.height = (clip.height, clip.width) if sideways else (clip.width, clip.height)
        self.frame_rate, self.total = clip.frame_rate, clip.frames
        self._clip = clip
        read, write = os.pipe()
        # the raw format has no time stamps: the filter prints one a frame, into a pipe of their own
        scale = f"scale=in_color_matrix={clip.matrix}:in_range={'pc' if clip.full_range else 'tv'}"
        stamps = f"metadata=mode=add:key=t:value=1,metadata=mode=print:direct=1:file=pipe\\\\:{write}"
        exact = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
        filters = f"{scale}:{exact},format=rgb24,settb={clip.time_base},{stamps}"
        # in ticks of the mean rate, two frames of a variable rate can share one, and ffmpeg warns
        ticks = ["-enc_time_base", f"{clip.time_base.numerator}:{clip.time_base.denominator}"]
        stream = ["-map", f"0:{clip.stream}", *every_frame(), *ticks, "-vf", filters, "-f", "rawvideo", "pipe:1"]
        command = [program("ffmpeg"), *_QUIET, *LOCAL, "-copyts", "-i", f"file:{clip.path}", *stream]
        self._stamps = os.fdopen(read, "r")
        try:
            self._process = Process(command, stdin=-3, stdout=-1, pass_fds=(write,))
        finally:
            os.close(write)

    def frames(self) -> Iterator[Frame]:
        number = 0
        for pixels in _raw(self._process.stdout, self.width, self.height):
            if pixels is None:
                break
            yield Frame(pixels, self._time(number))
            number += 1
        code = self._process.wait()
        if code or self._process.words or not number:
            at = f"after {number} of about {self.total} frames" if self.total else f"after {number} frames"
            cure = f"`ffmpeg -i {self._clip.path.name} -c copy repaired.mkv` keeps what is whole"
            raise failure(f"cannot read {self._clip.path}: the clip breaks off or is damaged {at}", self._process, cure)

    def _time(self, number: int) -> int:
        for line in self._stamps:
            if line.startswith("frame:"):
                ticks = line.partition("pts:")[2].split()[0]
                try:
                    return round(int(ticks) * self._clip.time_base * 1_000_000_000)
                except ValueError:
                    break
        cure = f"`ffmpeg -fflags +genpts -i {self._clip.path.name} -c copy stamped.mkv` makes them"
        raise InputError(f"cannot read {self._clip.path}: frame {number} has no time stamp; {cure}.")

    def close(self) -> None:
        self._process.kill()
        self._stamps.close()


class RawSource:
    """RGB24 frames on a pipe, one after the other, ``frame_rate`` a second."""

    def __init__(self, stream: IO[bytes], width: int, height: int, frame_rate: Fraction) -> None:
        self.width, self.height, self.frame_rate, self.total = width, height, frame_rate, 0
        self._stream = stream

    def frames(self) -> Iterator[Frame]:
        for number, pixels in enumerate(_raw(self._stream, self.width, self.height)):
            if pixels is None:
                whole = f"{3 * self.width * self.height:,} bytes, {self.width}x{self.height} RGB24"
                raise InputError(f"the pipe ends within frame {number} (a frame is {whole}); check --size.")
            yield Frame(pixels, round(number * 1_000_000_000 / self.frame_rate))

    def close(self) -> None:
        pass


class LiveSource:
    """A camera's frames, RGB24 from a program's stdout: always the newest. Those that came while the engine was busy
    are dropped and counted. :meth:`stop` ends it; it can be called from a signal handler."""

    def __init__(self, command: Sequence[str], width: int, height: int, frame_rate: Fraction) -> None:
        self.width, self.height, self.frame_rate, self.total = width, height, frame_rate, 0
        self.dropped = 0
        self._command = command
        self._process = Process(command, stdin=-3, stdout=-1)
        self._arrived = threading.Condition()
        self._newest: Frame | None = None
        self._ended = self._stopped = False
        self._thread = threading.Thread(target=self._read, name="diffll-camera", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError, ValueError):  # closed while it was read
            for pixels in _raw(self._process.stdout, self.width, self.height):
                if pixels is None:
                    break
                with self._arrived:
                    self.dropped += self._newest is not None
                    self._newest = Frame(pixels, time.monotonic_ns())
                    self._arrived.notify()
        with self._arrived:
            self._ended = True
            self._arrived.notify()

    def frames(self) -> Iterator[Frame]:
        begin: int | None = None
        while not self._stopped:
            with self._arrived:
                # short waits: a signal handler's stop() cannot take the lock that this thread may hold
                waited = 0.0
                while self._newest is None and not self._ended and not self._stopped and waited < _SPAWN_S:
                    self._arrived.wait(0.1)
                    waited += 0.1
                frame, self._newest = self._newest, None
            if frame is None:
                break
            begin = frame.time_ns if begin is None else begin
            yield Frame(frame.pixels, frame.time_ns - begin)
        if begin is None or not (self._stopped or self._ended):
            what = "the camera sent no picture" if begin is None else f"the camera fell silent for {_SPAWN_S:.0f} s"
            self._process.kill()
            raise failure(what, self._process, "check its address, its --size and that nothing else uses it")

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._stopped = True
        self._process.kill()
        self._thread.join()


def _raw(stream: IO[bytes], width: int, height: int) -> Iterator[NDArray[np.uint8] | None]:
    """Frames of RGB24, each an array of its own; None at last where the stream ends within one."""
    while True:
        pixels = np.empty((height, width, 3), np.uint8)
        view, filled = memoryview(pixels.reshape(-1)), 0  # type: ignore[arg-type]
        while filled < len(view):
            got = stream.readinto(view[filled:])  # type: ignore[attr-defined]
            if not got:
                if filled:
                    yield None
                return
            filled += got
        yield pixels
