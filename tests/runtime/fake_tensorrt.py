"""TensorRT's Python API as far as our backend uses it, on the GPU that is none (``fake_gpu.py``).

What a stage computes is onnxruntime's: an engine's plan is its ONNX graph behind ``PLAN``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_gpu import FakeGpu

PLAN = b"fake plan of "


class FakeTensorRT:
    """Takes the place of the module ``tensorrt`` or ``tensorrt_rtx``. rtx: contexts come from a runtime config."""

    __version__ = "99.1"

    def __init__(self, gpu: FakeGpu, *, rtx: bool = False) -> None:
        self.gpu, self.rtx = gpu, rtx
        self.capturable = True
        self.fails_in_capture = False
        self.contexts_made = 0
        self.scratch_per_pixel = 10
        self.compiled: list[bytes] = []

        class Severity(IntEnum):
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        self.ILogger = type("ILogger", (), {"Severity": Severity})
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user")
        self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
        self.logs: list[Any] = []
        self.Runtime = self.runtime

    def runtime(self, log: Any) -> FakeRuntime:
        if log not in self.logs:
            self.logs.append(log)
        assert len(self.logs) == 1, "the logger passed into createInferRuntime differs from one already registered"
        return FakeRuntime(self, log)


@dataclass
class FakeRuntime:
    trt: FakeTensorRT
    log: Any

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        if not plan.startswith(PLAN):
            self.log.log(self.trt.ILogger.Severity.ERROR, "magic tag does not match")
            return None
        return FakeEngine(self.trt, self.log, plan.removeprefix(PLAN))


class FakeEngine:
    def __init__(self, trt: FakeTensorRT, log: Any, graph: bytes) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.trt, self.log = trt, log
        self.session = ort.InferenceSession(graph, options)
        self.inputs = [node.name for node in self.session.get_inputs()]
        nodes = [*self.session.get_inputs(), *self.session.get_outputs()]
        names = {"tensor(float)": ("FLOAT", "f4"), "tensor(float16)": ("HALF", "f2"), "tensor(int32)": ("INT32", "i4")}
        self.types = {node.name: names[node.type] for node in nodes}
        self.num_io_tensors = len(nodes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.types)[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.types[name][0])

    def get_tensor_location(self, name: str) -> Any:
        return SimpleNamespace(name="DEVICE")

    def create_runtime_config(self) -> FakeConfig:
        return FakeConfig(self.trt)

    def create_execution_context(self, how: Any) -> FakeContext:
        strategy = how.strategy if isinstance(how, FakeConfig) else how
        assert strategy == "user"
        assert isinstance(how, FakeConfig) == self.trt.rtx
        assert self.trt.gpu.device() == 0, "a context on the app's GPU"
        self.trt.contexts_made += 1
        if self.trt.rtx:
            assert how.dynamic_shapes_kernel_specialization_strategy == "eager"
            how.cache.kernels.append(b"kernel;")
        return FakeContext(self)


class FakeConfig:
    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt = trt

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> Any:
        return FakeCache(self.trt)

    def set_runtime_cache(self, cache: FakeCache) -> bool:
        self.cache = cache
        return True


class FakeCache:
    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt, self.kernels = trt, list[bytes]()

    def deserialize(self, content: bytes) -> bool:
        self.kernels = [content]
        self.trt.compiled.append(content)
        return True

    def serialize(self) -> bytes:
        return b"".join(self.kernels)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.trt, self.gpu = engine, engine.trt, engine.trt.gpu
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.scratch: tuple[int, int] | None = None
        self.captured: list[Any] | None = None  # the capture that it is in: it keeps memory of its own for one
        self.ready = False  # a new shape's first run makes it so

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        assert set(self.shapes) == set(self.engine.inputs)
        largest = max(int(np.prod(shape)) for shape in self.shapes.values())
        return self.trt.scratch_per_pixel * largest * len(self.shapes) ** 2  # the denoiser needs most

    def set_device_memory(self, address: int, size: int) -> None:
        self.scratch = address, size

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.engine.types

    def is_stream_capturable(self, stream: int) -> bool:
        return self.trt.capturable

    def execute_async_v3(self, stream: int) -> bool:
        assert self.gpu.device() == 0, "a stage on the app's GPU"
        if self.gpu.last_error:
            self.engine.log.log(self.trt.ILogger.Severity.ERROR, f"an error of before: {self.gpu.last_error.name}")
            return False
        if self.gpu.capturing and (self.trt.fails_in_capture or not self.ready):
            self.gpu.spoil()
            self.engine.log.log(self.trt.ILogger.Severity.ERROR, "operation not permitted when stream is capturing")
            return False
        capture = self.gpu.streams[stream].capture
        assert capture is None or self.captured is None or self.captured is capture, "one context in two graphs"
        assert capture is not None or self.captured is None, "a context that a graph uses, beside it"
        self.captured = capture
        assert set(self.addresses) == set(self.engine.types)
        assert self.scratch is not None
        assert self.scratch[1] >= self.update_device_memory_size_for_shapes()
        addresses, scratch = dict(self.addresses), self.scratch[0]

        def work() -> None:
            assert scratch in self.gpu.memory
            self.gpu.made["runs"] += 1
            self.ready = True
            types = {name: kind[1] for name, kind in self.engine.types.items()}
            feeds = {name: self.gpu.array(addresses[name], types[name], self.shapes[name]) for name in self.shapes}
            assert all(np.isfinite(array.astype("f4")).all() for array in feeds.values()), "read before it was written"
            names = [name for name in types if name not in feeds]
            for name, result in zip(names, self.engine.session.run(names, feeds), strict=True):
                self.gpu.array(addresses[name], types[name], result.shape)[...] = result

        self.gpu.streams[stream].add(work, scratch)
        return True
