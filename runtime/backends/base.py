"""The seam between the loop and an inference engine.

A backend turns the package's stages into something that runs on buffers of its own device. The loop
(``program.py``) makes the buffers of a shape once, binds every call to them once, and hands the whole ordered
sequence of a photo to the backend once: what it gets back is submitted for every photo of that shape. So nothing is
copied to the host between upload and download, and a backend may make one graph of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..package.manifest import TensorSpec
from ..planning.traits import Traits

Buffer = TypeVar("Buffer")
Call = Callable[[], None]
Times = list[tuple[str, float]]


@dataclass(frozen=True)
class Part:
    """One call of a photo's sequence."""

    name: str
    """What its time is called; the parts of a loop share one name."""
    call: Call
    concurrent: bool = False
    """It may overlap with the parts up to the last: only that one needs its outputs."""


@dataclass(frozen=True)
class Form:
    """How a stage is run where it can be run in several ways."""

    key_stride: int = 1
    """Attention sees every so-many-th row and column of keys and values."""
    low_memory: bool = False
    """Slower, in less memory."""
    whole_scores: bool = False
    """All scores of an attention at once, whatever the size."""


PLAIN = Form()


class Job(Protocol):
    """The parts of one photo, to be run again and again on the same buffers."""

    def submit(self) -> None:
        """Run the parts in order, on what was uploaded. May return before the work is done. Raises EngineError."""

    def wait(self) -> Times:
        """Wait until the work of the last submit is done; its times as (name, milliseconds), in order: one a part, or
        one named ``graph`` for all where the parts run as one. Raises EngineError."""


class PhotoIO(Protocol):
    """Photos of one size and dtype, converted where the engine computes."""

    pad: Call
    """From what was uploaded to the image that the first stage reads: ``image.to_tensor``."""
    crop: Call
    """From the image that the last stage makes to what is downloaded: ``image.to_pixels``."""

    def upload(self, photos: NDArray) -> None:  # type: ignore[type-arg]
        """Copy photos (B, H, W, 3) to the device; they may be changed afterwards."""

    def download(self) -> tuple[NDArray, bool]:  # type: ignore[type-arg]
        """The photos that ``crop`` made, the caller's own, and whether their image was finite."""


class Backend(Protocol[Buffer]):
    """One engine library, opened with one package. ``Buffer`` is whatever the library calls a device tensor.

    Calls come from one thread at a time. The exception is ``wait`` and ``download``: they may come from another
    thread while a job of other buffers is submitted.
    """

    name: str
    traits: Traits
    why: str
    """What ``auto`` found when it chose this one, or why this one runs as it does; empty where there is nothing to
    say."""
    converts: bool
    """Whether it has a ``photo_io``; elsewhere the host converts photos."""

    def photo_io(self, shape: tuple[int, ...], dtype: np.dtype[Any], image: Buffer, output: Buffer) -> PhotoIO:
        """Conversions of photos of this ``shape`` (B, H, W, 3) and dtype (uint8 or uint16) into ``image`` and out of
        ``output``. Only where ``converts``. Raises EngineError."""

    def buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> Buffer:
        """A new device buffer for the tensor ``spec`` at ``shape``; its content is undefined. It lives until it
        is dropped."""

    def upload(self, buffer: Buffer, array: NDArray) -> None:  # type: ignore[type-arg]
        """Copy a contiguous host array of the buffer's shape into it; float32 is cast to the buffer's dtype. The
        array may be changed afterwards; no job that is running may use the buffer."""

    def download(self, buffer: Buffer) -> NDArray:  # type: ignore[type-arg]
        """The buffer's content as a host array, valid until a job that writes the buffer is submitted; float types
        arrive as float32. Comes after the ``wait`` of the job that wrote it."""

    def bind(self, stage: str, tensors: Mapping[str, Buffer], *, last: bool = True, form: Form = PLAIN) -> Call:
        """A call that runs ``stage`` on these buffers, inputs and outputs by name, whenever it is called.

        last: no other call of this stage follows for this photo, so scratch memory may be given back after it.
        form: another than the plain one only for the denoiser, and where ``traits`` has it.
        The call keeps its buffers alive. Outputs never share a buffer with an input. A call may return before its
        work is done (a device runs calls in order). Raises EngineError from here or from the call.
        """

    def sequence(self, parts: Sequence[Part]) -> Job:
        """A job of these parts, whose calls come from ``bind``. It keeps them alive; dropped, it gives back what it
        made."""

    def close(self) -> None:
        """Give every resource back. Nothing may be called afterwards."""
