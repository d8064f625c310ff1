"""The seam between the loop and an inference engine.

A backend turns the package's stages into something that runs on buffers of its own device. The loop
(``enhancer.py``) makes the buffers of a shape once, binds every call to them once, and then only runs the calls:
nothing is copied to the host between upload and download.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from numpy.typing import NDArray

from ..package import TensorSpec

Buffer = TypeVar("Buffer")
Call = Callable[[], None]


class Backend(Protocol[Buffer]):
    """One engine library, opened with one package. ``Buffer`` is whatever the library calls a device tensor."""

    name: str
    why: str
    """What ``auto`` found when it chose this one; empty where it was asked for by name."""

    def buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> Buffer:
        """A new device buffer for the tensor ``spec`` at ``shape``; its content is undefined. It lives until it
        is dropped."""
        ...

    def upload(self, buffer: Buffer, array: NDArray) -> None:  # type: ignore[type-arg]
        """Copy a contiguous host array of the buffer's shape into it; float32 is cast to the buffer's dtype."""
        ...

    def download(self, buffer: Buffer) -> NDArray:  # type: ignore[type-arg]
        """The buffer's content as a host array, valid until the next call; float types arrive as float32."""
        ...

    def bind(self, stage: str, tensors: Mapping[str, Buffer], *, last: bool = True) -> Call:
        """A call that runs ``stage`` on these buffers, inputs and outputs by name, whenever it is called.

        last: no other call of this stage follows for this photo, so scratch memory may be given back after it.
        The call keeps its buffers alive. Outputs never share a buffer with an input. A call may return before its
        work is done (a device runs calls in order); ``download`` waits. Raises EngineError from here or from the call.
        """
        ...

    def close(self) -> None:
        """Give every resource back. Nothing may be called afterwards."""
        ...
