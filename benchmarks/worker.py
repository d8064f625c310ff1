"""The process of one configuration: it opens, runs and answers, one JSON object a line, and dies with its parent.

A process each: its peak memory is the configuration's own, and no engine's threads disturb another engine.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from .device_memory import DeviceMemory
from .job import Job, Photo, Timed
from .runners import PackageRunner, open_runner

_PR_SET_PDEATHSIG = 1


class Worker:
    """The commands, each a method; what it returns is the answer."""

    def __init__(self, place: str | None) -> None:
        """place: of the GPU whose memory is watched."""
        self._device = DeviceMemory(place)
        self._runner: Timed | None = None
        self._photo: Photo | None = None

    def open(self, job: dict[str, Any], photo: str) -> dict[str, Any]:
        """Open the job. The clock runs from before the engine's library is imported."""
        self._photo = np.load(photo) if photo else None
        self._device.start()
        started = perf_counter_ns()
        self._runner = open_runner(Job(**job))
        opening_ms = (perf_counter_ns() - started) / 1e6
        return {
            "opening_ms": opening_ms,
            "runs": self._runner.name,
            "why": self._runner.why,
            "opened_bytes": host_bytes("VmRSS"),
            "device_free_bytes": self._device.free(),
        }

    def needs(self, sizes: list[tuple[int, int]]) -> dict[str, Any]:
        """Bytes of memory that the package needs with its backend, for photos of ``sizes`` (width, height)."""
        assert isinstance(self._runner, PackageRunner)
        return {"bytes": [self._runner.needs(width, height) for width, height in sizes]}

    def run(self, count: int, save: str) -> dict[str, Any]:
        """Time ``count`` photos; keep the last picture in the file ``save`` if that is not empty."""
        assert self._runner is not None
        assert self._photo is not None
        times, stages, steps = [], [], []
        for _ in range(count):
            started = perf_counter_ns()
            picture = self._runner.run(self._photo)
            times.append((perf_counter_ns() - started) / 1e6)
            stages.append(self._runner.stages)
            steps.append(self._runner.step_ms)
        if save:
            np.save(save, picture)
        return {"ms": times, "stages": stages, "steps": steps, "plan": self._runner.plan}

    def settle(self) -> dict[str, Any]:
        """The device's peak since the opening. From here on it is not sampled: nothing runs beside what is timed."""
        return {"device_peak_bytes": self._device.stop()}

    def memory(self) -> dict[str, Any]:
        """The host's peak since the process began."""
        return {"host_peak_bytes": host_bytes("VmHWM")}

    def gemm(self) -> dict[str, Any]:
        """How fast this machine multiplies matrices: see peak.py."""
        from .peak import gemm_peak

        return gemm_peak()

    def score(self, pairs: list[list[str]]) -> dict[str, Any]:
        """PSNR and SSIM of this engine's pictures of other photos, against their references."""
        from runtime.photo import read_photo

        from .metrics import scores

        assert self._runner is not None
        found = {}
        for low, high in pairs:
            bright, reference = self._runner.run(read_photo(low).pixels), read_photo(high).pixels
            found[Path(low).stem] = scores(reference, bright)
        return {"scores": found}


def host_bytes(field: str) -> int | None:
    """A field of /proc/self/status in bytes (VmRSS: resident now, VmHWM: most ever resident); None where there is
    no such file. ``ru_maxrss`` would be the parent's where that was larger."""
    try:
        match = re.search(rf"^{field}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) << 10 if match else None


def die_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends, however that comes about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def main() -> None:
    commands, answers, parent = (int(word) for word in sys.argv[1:4])
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    worker = Worker(sys.argv[4] or None)
    with os.fdopen(commands, "r") as incoming, os.fdopen(answers, "w") as outgoing:
        for line in incoming:
            message = json.loads(line)
            command: Callable[..., dict[str, Any]] = getattr(worker, message.pop("do"))
            try:
                answer = command(**message)
            except Exception as error:  # engines' exceptions share no base; the parent decides what it means
                answer = {"error": " ".join(str(error).split())[:600], "kind": type(error).__name__}
            outgoing.write(json.dumps(answer) + "\n")
            outgoing.flush()


if __name__ == "__main__":
    main()
