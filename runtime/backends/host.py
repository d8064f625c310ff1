"""What engines on the host share: buffers in numpy's memory, and a photo's parts one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError, OutOfMemoryError, one_line, out_of_memory
from ..package.manifest import TensorSpec
from ..planning.traits import Traits
from . import bfloat16
from .base import Job, Part, PhotoIO, Times

Array = NDArray[Any]


class HostBackend:
    """A backend but for ``name``, ``traits`` and ``bind``, for an engine that reads and writes numpy's memory and whose
    calls return when they are done. A bfloat16 buffer is an array of its bits (``bfloat16.BITS``)."""

    name: str
    traits: Traits
    why = ""
    converts = False

    def photo_io(self, shape: tuple[int, ...], dtype: np.dtype[Any], image: Array, output: Array) -> PhotoIO:
        raise NotImplementedError  # the host converts

    def buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, bfloat16.host_dtype(spec.dtype))

    def upload(self, buffer: Array, array: Array) -> None:
        bfloat16.fill(buffer, array)

    def download(self, buffer: Array) -> Array:
        return bfloat16.floats(buffer)

    def sequence(self, parts: Sequence[Part]) -> Job:
        return InOrder(parts)

    def close(self) -> None:
        """A subclass that holds more than Python frees by itself gives it back here."""


def run_failure(library: str, stage: str, error: Exception) -> EngineError:
    """What a call of ``stage`` raises for the library's own exception."""
    failure = OutOfMemoryError if out_of_memory(error) else EngineError
    return failure(f"{library} could not run {stage}: {one_line(error)}. Out of memory? Use a smaller photo or batch.")


class InOrder:
    """A job that runs one part after the other: for every backend whose calls return when they are done."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = tuple(parts)
        self._times: Times = []

    def submit(self) -> None:
        self._times = []
        last = perf_counter_ns()
        for part in self._parts:
            part.call()
            now = perf_counter_ns()
            self._times.append((part.name, (now - last) / 1e6))
            last = now

    def wait(self) -> Times:
        return self._times
