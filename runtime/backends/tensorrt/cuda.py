"""CUDA's own things, owned: streams, events, device and pinned host memory, graphs. Through ``cuda.bindings``.

Every object gives its resource back when it is dropped, on whatever path that happens. All is on the first GPU that
CUDA shows this process (``CUDA_VISIBLE_DEVICES`` chooses).
"""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import BackendUnavailableError, EngineError, OutOfMemoryError
from ...machine.gpu import current_gpu


def _unusable(reason: str) -> BackendUnavailableError:
    gpu = current_gpu()
    cure = f"`pip install 'cuda-bindings=={gpu.cuda if gpu else 13}.*'` (the number is that of the driver's CUDA)"
    return BackendUnavailableError(f"the Python package cuda-bindings is not usable here ({reason}); {cure}.")


try:
    from cuda.bindings import runtime as cudart
except ImportError as error:
    raise _unusable(" ".join(str(error).split())[:200]) from error

_log = logging.getLogger(__name__)


def check(result: tuple[Any, ...]) -> Any:
    """The value of a call of ``cuda.bindings``, whose first item is its status. Raises EngineError."""
    status, *values = result
    if status != cudart.cudaError_t.cudaSuccess:
        cudart.cudaGetLastError()  # else a library that asks after its next kernel finds it and takes it for its own
        name, text = (ask(status)[1].decode() for ask in (cudart.cudaGetErrorName, cudart.cudaGetErrorString))
        if name == "cudaErrorMemoryAllocation":
            cure = "use a smaller photo or batch, or close what else uses the GPU"
            raise OutOfMemoryError(f"CUDA says {name} ({text}): {cure}.")
        cure = "open the package in a new process; if it fails there too, run the doctor (`-m runtime.doctor`)"
        raise EngineError(f"CUDA says {name} ({text}): {cure}.")
    return values[0] if values else None


@contextmanager
def first_device() -> Iterator[None]:
    """Inside, what is made and queued is on the first GPU. Each thread has its own choice, and an app may have made
    another one in this thread: it stands again afterwards."""
    chosen = check(cudart.cudaGetDevice())
    if chosen:
        check(cudart.cudaSetDevice(0))
    try:
        yield
    finally:
        if chosen:
            check(cudart.cudaSetDevice(chosen))


def require_device() -> None:
    """Raises BackendUnavailableError where CUDA does not start, or is newer than the driver."""
    try:
        with first_device():
            check(cudart.cudaFree(0))  # makes the device's context, and nothing else
    except EngineError as error:
        if "cudaErrorInsufficientDriver" in str(error):
            raise _unusable("it is built for a newer CUDA than the driver speaks") from error
        raise BackendUnavailableError(str(error)) from error


def _owned(owner: Any, handle: Any, release: Callable[[Any], tuple[Any, ...]]) -> Any:
    """``handle``, which is released when ``owner`` is dropped, or when Python ends."""

    def give_back() -> None:
        try:
            check(release(handle))
        except EngineError as error:  # nobody is there to catch it
            _log.warning("%s: %s", release.__name__, error)

    weakref.finalize(owner, give_back)
    return handle


class Stream:
    """A queue of work on the device."""

    def __init__(self) -> None:
        made = check(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        self.handle = _owned(self, made, cudart.cudaStreamDestroy)
        self.number = int(self.handle)

    def wait(self, event: Event) -> None:
        """What is queued from now on runs after ``event``."""
        check(cudart.cudaStreamWaitEvent(self.handle, event.handle, 0))

    def synchronize(self) -> None:
        check(cudart.cudaStreamSynchronize(self.handle))


class Event:
    """A mark in a stream. timed: :func:`elapsed` may be asked for it."""

    def __init__(self, *, timed: bool = False) -> None:
        # the host sleeps while it waits: a spinning thread would take a core from the one that prepares frames
        flags = cudart.cudaEventBlockingSync | (0 if timed else cudart.cudaEventDisableTiming)
        self.handle = _owned(self, check(cudart.cudaEventCreateWithFlags(flags)), cudart.cudaEventDestroy)

    def record(self, stream: Stream) -> None:
        check(cudart.cudaEventRecord(self.handle, stream.handle))

    def synchronize(self) -> None:
        check(cudart.cudaEventSynchronize(self.handle))


def elapsed(start: Event, end: Event) -> float:
    """Milliseconds of the device between two events that have happened."""
    return float(check(cudart.cudaEventElapsedTime(start.handle, end.handle)))


class DeviceMemory:
    """A block of the GPU's memory; its content is undefined."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.address = _owned(self, int(check(cudart.cudaMalloc(size))), cudart.cudaFree)


class MappedMemory:
    """Host memory that the GPU reads and writes in place; its content is undefined. It lives as long as this or a view
    of ``host`` does. For GPUs that share the host's memory (:func:`shares_memory`): over a bus it would be slow."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.host = pinned(shape, dtype, cudart.cudaHostAllocMapped)
        self.address = int(check(cudart.cudaHostGetDevicePointer(self.host.ctypes.data, 0)))


def shares_memory() -> bool:
    """Whether the GPU is part of the processor and can use the host's memory where it lies, as on a Jetson."""
    wanted = (cudart.cudaDeviceAttr.cudaDevAttrIntegrated, cudart.cudaDeviceAttr.cudaDevAttrCanMapHostMemory)
    return all(check(cudart.cudaDeviceGetAttribute(one, 0)) for one in wanted)


def pinned(shape: tuple[int, ...], dtype: DTypeLike, flags: int = cudart.cudaHostAllocDefault) -> NDArray[Any]:
    """A host array that the GPU copies from and to while the host goes on. It lives as long as a view of it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    address = int(check(cudart.cudaHostAlloc(size, flags)))
    block = (ctypes.c_byte * size).from_address(address)
    _owned(block, address, cudart.cudaFreeHost)
    array: NDArray[Any] = np.frombuffer(memoryview(block), np.dtype(dtype)).reshape(shape)
    return array


def copy_to_device(memory: DeviceMemory, array: NDArray[Any], stream: Stream) -> None:
    kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
    check(cudart.cudaMemcpyAsync(memory.address, array.ctypes.data, array.nbytes, kind, stream.handle))


def copy_to_host(array: NDArray[Any], memory: DeviceMemory, stream: Stream) -> None:
    kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
    check(cudart.cudaMemcpyAsync(array.ctypes.data, memory.address, array.nbytes, kind, stream.handle))


class Graph:
    """Work that was captured once and is launched as one."""

    def __init__(self, handle: Any) -> None:
        self.handle = _owned(self, check(cudart.cudaGraphInstantiate(handle, 0)), cudart.cudaGraphExecDestroy)

    def launch(self, stream: Stream) -> None:
        check(cudart.cudaGraphLaunch(self.handle, stream.handle))


def capture(stream: Stream, work: Callable[[], None]) -> Graph:
    """What ``work`` queues on ``stream``, as a graph; it does not run.

    Streams that wait for an event of this one inside are captured too, and have to be joined again inside. Raises
    EngineError, also when CUDA refused something inside; the streams can be used again then.
    """
    # Python's collector may drop a block of memory at any new object; to free it here would spoil the capture
    collects = gc.isenabled()
    gc.disable()
    try:
        return _captured(stream, work)
    finally:
        if collects:
            gc.enable()


def _captured(stream: Stream, work: Callable[[], None]) -> Graph:
    # thread-local: other threads may go on copying and allocating
    check(cudart.cudaStreamBeginCapture(stream.handle, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
    try:
        work()
    except BaseException:
        # the stream has to leave the capture; what went wrong inside is the error that is told
        status, graph = cudart.cudaStreamEndCapture(stream.handle)
        if status == cudart.cudaError_t.cudaSuccess:
            cudart.cudaGraphDestroy(graph)
        cudart.cudaGetLastError()
        raise
    graph = check(cudart.cudaStreamEndCapture(stream.handle))
    try:
        return Graph(graph)
    finally:
        check(cudart.cudaGraphDestroy(graph))
