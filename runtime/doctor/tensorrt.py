"""The doctor's test graph on TensorRT or TensorRT-RTX: built with the library's own parser, then run on the GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def build_graph(trt: Any, graph: bytes) -> Any:
    """The serialized engine of an ONNX graph of fixed shapes. Raises ValueError."""
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    # TensorRT 11 has dropped the flag: there every network is strongly typed
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        raise ValueError(f"it does not read the test graph ({parser.get_error(0).desc()})")
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        raise ValueError("it builds no engine of the test graph")
    return plan


def run_plan(trt: Any, plan: Any, array: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The engine's output of ``shape`` for one input, on the GPU. Raises ValueError, EngineError or
    BackendUnavailableError."""
    from ..backends.tensorrt import cuda

    cuda.require_device()
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(plan)
    context = None if engine is None else engine.create_execution_context()
    if engine is None or context is None:
        raise ValueError("it does not load the engine that it built")
    stream, result = cuda.Stream(), np.empty(shape, np.float32)
    memories = [cuda.DeviceMemory(one.nbytes) for one in (array, result)]
    for index, memory in enumerate(memories):
        context.set_tensor_address(engine.get_tensor_name(index), memory.address)
    cuda.copy_to_device(memories[0], array, stream)
    if not context.execute_async_v3(stream.number):
        raise ValueError("it does not run the engine that it built")
    cuda.copy_to_host(result, memories[1], stream)
    stream.synchronize()
    return result
