"""A backend that computes nothing: it shows what the loop asks for, in tests and when a loop's own cost is timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from runtime import Enhancer
from runtime.backends.base import PLAIN, Call, Form, Job, Part
from runtime.backends.host import HostBackend
from runtime.package.manifest import TensorSpec
from runtime.package.reading import Package
from runtime.planning.traits import Traits


class NullBackend(HostBackend):
    """A call leaves its outputs as they are and notes itself in ``calls``; a sequence notes its parts in
    ``sequences``."""

    name = "null"
    traits = Traits(live=1.0, live_rest=1.0, weights=1.0, live_low_memory=0.5, key_stride=True)

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, int]]] = []
        self.sequences: list[list[tuple[str, bool]]] = []
        self.buffers_made = 0
        self.closed = False

    def buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
        self.buffers_made += 1
        return super().buffer(spec, shape)

    def bind(self, stage: str, tensors: Mapping[str, NDArray[Any]], *, last: bool = True, form: Form = PLAIN) -> Call:
        addresses = {name: tensor.ctypes.data for name, tensor in tensors.items()}
        return lambda: self.calls.append((stage, addresses))

    def sequence(self, parts: Sequence[Part]) -> Job:
        self.sequences.append([(part.name, part.concurrent) for part in parts])
        return super().sequence(parts)

    def close(self) -> None:
        self.closed = True


def open_null(package: Path) -> Enhancer:
    """An enhancer whose engine computes nothing."""
    return Enhancer(Package.open(package), NullBackend())
