"""A GPU that is none: enough of ``cuda.bindings.runtime`` to run our backend on a CPU.

What is checked is ours: work that is queued runs late, and only as far as events and streams order it; memory is alive
or it is not; scratch memory has one user at a time; a graph keeps what it was captured with.
"""

from __future__ import annotations

import ctypes
import itertools
import random
import threading
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np


@dataclass(eq=False)
class Op:
    """Queued work; before: what it waits for."""

    work: Any
    before: list[Op]
    scratch: int = 0
    done: bool = False

    def ancestors(self) -> set[Op]:
        found: set[Op] = set()
        open_ = list(self.before)
        while open_:
            op = open_.pop()
            if op not in found:
                found.add(op)
                open_ += op.before
        return found


@dataclass(eq=False)
class Queue:
    last: Op | None = None
    waits: list[Op] = field(default_factory=list)
    capture: list[Op] | None = None
    outside: Op | None = None

    def enter(self, capture: list[Op]) -> None:
        self.capture, self.outside, self.last = capture, self.last, None

    def leave(self) -> None:
        self.capture, self.last, self.waits = None, self.outside, []

    def add(self, work: Any, scratch: int = 0) -> Op:
        before = [*([self.last] if self.last else []), *self.waits]
        op = Op(work, before, scratch)
        self.last, self.waits = op, []
        if self.capture is not None:
            self.capture.append(op)
        return op


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalState = 401
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901
    cudaErrorStreamCaptureUnjoined = 904


class FakeGpu:
    """``cudart`` takes the place of ``cuda.bindings.runtime``. memory: address -> array, of device and pinned host."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self.limit = limit
        self.integrated = False  # as on a Jetson: GPU and host share their memory
        self.memory: dict[int, Any] = {}
        self.live: dict[str, set[int]] = {"stream": set(), "event": set(), "graph": set(), "template": set()}
        self.made = {"device": 0, "pinned": 0, "mapped": 0, "copies": 0, "captures": 0, "launches": 0, "runs": 0}
        self.events: dict[int, Op | None] = {}
        self.streams: dict[int, Queue] = {}
        self.graphs: dict[int, list[Op]] = {}
        self.numbers = itertools.count(1000)
        self.order = random.Random(0)
        self.running: dict[int, Op] = {}  # scratch address -> its last user
        self.capturing = 0  # the thread that captures; others may do what they want
        self.spoiled = False  # what is captured: no graph comes of it
        self.last_error = Error.cudaSuccess
        self.chosen = threading.local()  # a thread's device, 0 or 1; all that we make has to be on 0
        self.lock = threading.RLock()  # a stream waits in one thread and submits in another
        names = [name for name in dir(self) if name.startswith("cuda")]
        self.cudart = SimpleNamespace(
            cudaError_t=Error,
            cudaMemcpyKind=SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2),
            cudaStreamCaptureMode=SimpleNamespace(cudaStreamCaptureModeThreadLocal=1),
            cudaStreamNonBlocking=1,
            cudaEventBlockingSync=1,
            cudaEventDisableTiming=2,
            cudaHostAllocDefault=0,
            cudaHostAllocMapped=2,
            cudaDeviceAttr=SimpleNamespace(cudaDevAttrIntegrated=18, cudaDevAttrCanMapHostMemory=19),
            **{name: self._remembering(getattr(self, name)) for name in names},
        )

    def _remembering(self, call: Any) -> Any:
        """A failure stays the thread's last error until it is asked for."""

        def remember(*arguments: Any) -> Any:
            result = call(*arguments)
            if result[0] != Error.cudaSuccess and call.__name__ != "cudaGetLastError":
                self.last_error = result[0]
            return result

        return remember

    def spoil(self) -> None:
        """Something that CUDA permits in no capture was asked for in one."""
        self.spoiled, self.last_error = True, Error.cudaErrorStreamCaptureUnsupported

    def nothing_left(self) -> bool:
        return not self.memory and not any(self.live.values())

    def device_bytes(self) -> int:
        return sum(array.nbytes for array in self.memory.values())

    # what the backend calls

    def cudaGetErrorName(self, status: Error) -> Any:
        return Error.cudaSuccess, status.name.encode()

    def cudaGetErrorString(self, status: Error) -> Any:
        return Error.cudaSuccess, b"of the fake"

    def cudaGetLastError(self) -> Any:
        found, self.last_error = self.last_error, Error.cudaSuccess
        return (found,)

    def device(self) -> int:
        return getattr(self.chosen, "device", 0)

    def cudaGetDevice(self) -> Any:
        return Error.cudaSuccess, self.device()

    def cudaSetDevice(self, device: int) -> Any:
        self.chosen.device = device
        return (Error.cudaSuccess,)

    def _allocate(self, kind: str, size: int) -> Any:
        if self.capturing == threading.get_ident():
            self.spoil()
            return Error.cudaErrorStreamCaptureUnsupported, None
        assert self.device() == 0, f"{kind} memory on the app's GPU"
        if self.device_bytes() + size > self.limit:
            return Error.cudaErrorMemoryAllocation, None
        array = np.full(size, 0xFF, np.uint8)  # NaN: what is read before it was written is seen
        self.memory[array.ctypes.data] = array
        self.made[kind] += 1
        return Error.cudaSuccess, array.ctypes.data

    def _release(self, address: int) -> Any:
        if self.capturing == threading.get_ident():
            self.spoil()
            return (Error.cudaErrorStreamCaptureUnsupported,)
        if address:
            del self.memory[address]
            self.running.pop(address, None)
        return (Error.cudaSuccess,)

    def cudaMalloc(self, size: int) -> Any:
        return self._allocate("device", size)

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        return self._allocate("mapped" if flags == self.cudart.cudaHostAllocMapped else "pinned", size)

    def cudaHostGetDevicePointer(self, address: int, flags: int) -> Any:
        assert flags == 0
        assert address in self.memory
        return Error.cudaSuccess, address

    def cudaDeviceGetAttribute(self, attribute: int, device: int) -> Any:
        return Error.cudaSuccess, int(self.integrated or attribute == 19)

    def cudaFree(self, address: int) -> Any:
        return self._release(address)

    def cudaFreeHost(self, address: int) -> Any:
        return self._release(address)

    def _new(self, kind: str) -> int:
        assert self.device() == 0, f"a {kind} on the app's GPU"
        number = next(self.numbers)
        self.live[kind].add(number)
        return number

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        number = self._new("stream")
        self.streams[number] = Queue()
        return Error.cudaSuccess, number

    def cudaStreamDestroy(self, stream: int) -> Any:
        self.live["stream"].remove(stream)
        return (Error.cudaSuccess,)

    def cudaEventCreateWithFlags(self, flags: int) -> Any:
        number = self._new("event")
        self.events[number] = None
        return Error.cudaSuccess, number

    def cudaEventDestroy(self, event: int) -> Any:
        self.live["event"].remove(event)
        return (Error.cudaSuccess,)

    def cudaEventRecord(self, event: int, stream: int) -> Any:
        if self.device():
            return (Error.cudaErrorInvalidResourceHandle,)
        self.events[event] = self.streams[stream].add(lambda: None)
        return (Error.cudaSuccess,)

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> Any:
        op = self.events[event]
        if op is not None:
            queue = self.streams[stream]
            for other in self.streams.values():
                if queue.capture is None and other.capture is not None and op in other.capture:
                    queue.enter(other.capture)
            queue.waits.append(op)
        return (Error.cudaSuccess,)

    def cudaEventSynchronize(self, event: int) -> Any:
        op = self.events[event]
        if op is not None:
            self._run(op)
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> Any:
        op = self.streams[stream].last
        if op is not None:
            self._run(op)
        return (Error.cudaSuccess,)

    def cudaEventElapsedTime(self, start: int, end: int) -> Any:
        assert self.events[start].done
        assert self.events[end].done
        return Error.cudaSuccess, 1.0

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> Any:
        self.made["copies"] += 1

        def copy() -> None:
            for address in (target, source):
                assert self.memory[address].nbytes == size
            ctypes.memmove(target, source, size)

        self.streams[stream].add(copy)
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> Any:
        queue = self.streams[stream]
        queue.enter([])
        self.capturing, self.spoiled = threading.get_ident(), False
        self.made["captures"] += 1
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> Any:
        queue = self.streams[stream]
        ops, self.capturing = queue.capture, 0
        joined = {queue.last, *queue.last.ancestors()} if queue.last else set()
        for one in self.streams.values():
            if one.capture is ops:
                one.leave()
        if self.spoiled:
            return Error.cudaErrorStreamCaptureInvalidated, None
        if not set(ops) <= joined:
            return Error.cudaErrorStreamCaptureUnjoined, None
        number = self._new("template")
        self.graphs[number] = ops
        return Error.cudaSuccess, number

    def cudaGraphInstantiate(self, template: int, flags: int) -> Any:
        number = self._new("graph")
        self.graphs[number] = self.graphs[template]
        return Error.cudaSuccess, number

    def cudaGraphDestroy(self, template: int) -> Any:
        self.live["template"].remove(template)
        return (Error.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: int) -> Any:
        self.live["graph"].remove(graph)
        return (Error.cudaSuccess,)

    def cudaGraphLaunch(self, graph: int, stream: int) -> Any:
        if self.device():
            return (Error.cudaErrorInvalidResourceHandle,)
        assert graph in self.live["graph"]
        self.made["launches"] += 1
        queue = self.streams[stream]
        root = queue.add(lambda: None)
        copies: dict[Op, Op] = {}
        for op in self.graphs[graph]:
            copies[op] = Op(op.work, [root, *(copies[one] for one in op.before)], op.scratch)
        queue.waits = list(copies.values())
        return (Error.cudaSuccess,)

    # how work runs

    def _run(self, target: Op) -> None:
        """All that ``target`` waits for, and nothing else, in any order that the waits allow."""
        with self.lock:
            todo = [op for op in {target, *target.ancestors()} if not op.done]
            while todo:
                ready = [op for op in todo if all(one.done for one in op.before)]
                op = self.order.choice(ready)
                todo.remove(op)
                if op.scratch:
                    user = self.running.get(op.scratch)
                    assert user is None or user in op.ancestors(), "two at once in one block of scratch memory"
                    self.running[op.scratch] = op
                op.work()
                op.done = True

    def array(self, address: int, dtype: Any, shape: tuple[int, ...]) -> Any:
        block = self.memory[address]
        return block[: np.prod(shape, dtype=int) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
