"""What runs in the doctor's child process: a tiny graph on a backend or provider, compared with numpy's result."""

from __future__ import annotations

import base64
import importlib
import io
import json
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engines.libraries import installed, loading
from ..errors import BackendUnavailableError, one_line
from ..machine.gpu import current_gpu
from ..machine.leftovers import scratch_folder
from .child import MARK, NVIDIA

TOLERANCE = 1e-2  # of outputs up to 10: a wrong kernel is far off, TF32 and half sums are not

# One Conv, x (1,2,8,8) -> y (1,1,8,8), 3x3, padded by 1, weights CONV_WEIGHTS; opset 17, IR 10.
CONV_GRAPH = base64.b64decode(
    "CAo6ugEKIgoBeAoBdxIBeSIEQ29udioRCgRwYWRzQAFAAUABQAGgAQcSAWcqVwgBCAIIAwgDEAFCAXdKSAAAkL8AAIC/AABgvwAAQL8AACC/AAAA"
    "vwAAwL4AAIC+AAAAvgAAAAAAAAA+AACAPgAAwD4AAAA/AAAgPwAAQD8AAGA/AACAP1obCgF4EhYKFAgBEhAKAggBCgIIAgoCCAgKAggIYhsKAXkS"
    "FgoUCAESEAoCCAEKAggBCgIICAoCCAhCBAoAEBE="
)
# The same for ncnn; its weights go with it.
_NCNN_CONV = "7767517\n2 2\nInput x 0 1 x\nConvolution conv 1 1 x y 0=1 1=3 4=1 6=18\n"
# (1,2,3,3) and (1,2,8,8) float32, exact in every float type that an engine may choose
CONV_WEIGHTS = ((np.arange(18) - 9) / 8).astype(np.float32).reshape(1, 2, 3, 3)
CONV_INPUT = (np.arange(128) / 128).astype(np.float32).reshape(1, 2, 8, 8)
_PADDED = np.pad(CONV_INPUT, ((0, 0), (0, 0), (1, 1), (1, 1)))
_WINDOWS = np.lib.stride_tricks.sliding_window_view(_PADDED, (3, 3), axis=(2, 3))
CONV_EXPECTED: NDArray[np.float32] = np.einsum("nchwrs,ocrs->nohw", _WINDOWS, CONV_WEIGHTS)


def probe(kind: str, *arguments: str) -> None:
    """In the child: run one probe and print what it found as JSON."""
    try:
        found = _PROBES[kind](*arguments)
    except Exception as error:  # engines' exceptions share no base but Exception
        found = {"error": one_line(f"{type(error).__name__}: {error}")}
    print(f"\n{MARK}{json.dumps(found)}", flush=True)


def _onnxruntime() -> dict[str, Any]:
    with loading("onnxruntime"):
        import onnxruntime as ort

    return {"version": ort.__version__, "providers": ort.get_available_providers()}


def _provider(provider: str) -> dict[str, Any]:
    with loading("onnxruntime"):
        import onnxruntime as ort

    if provider in NVIDIA and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # as the backend does: pip's CUDA is not where the loader looks
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(CONV_GRAPH, options, providers=[provider])
    used = session.get_providers()[0]
    if used != provider:
        return {"error": f"falls back to {used}"}
    if provider != "CPUExecutionProvider":  # it loads; now the graph must run on it, not beside it on the CPU
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        session = ort.InferenceSession(CONV_GRAPH, options, providers=[provider])
    return {"ran": _ran(session.run(None, {"x": CONV_INPUT})[0])}


def _openvino() -> dict[str, Any]:
    with loading("openvino"):
        import openvino as ov

    core = ov.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = core.compile_model(core.read_model(CONV_GRAPH), "CPU", config)
    ran = _ran(model([CONV_INPUT])[0], "ran the test graph on CPU")
    return {"version": ov.get_version(), "ran": f"{ran}; devices: {', '.join(core.available_devices)}"}


def _openvino_environment(precision: Any) -> dict[str, Any]:
    """What an engine of a package in ``precision`` has to be compiled for to be used here."""
    with loading("openvino"):
        import openvino as ov

    from ..backends.openvino.backend import engine_environment

    return engine_environment(ov.Core(), precision)


def _tensorrt(module: str) -> dict[str, Any]:
    trt = importlib.import_module(module)
    found = {"version": trt.__version__, "file": str(trt.__file__)}
    if current_gpu() is None:
        return found
    try:
        plan = build_graph(trt, CONV_GRAPH)
        if installed("cuda"):
            found["ran"] = _ran(run_plan(trt, plan), "built and ran the test graph")
    except Exception as error:  # the version is still worth knowing
        found["error"] = one_line(error)
    return found


def build_graph(trt: Any, graph: bytes) -> Any:
    """The serialized engine of an ONNX graph of fixed shapes, by the library's own parser. Raises ValueError."""
    log = trt.Logger(trt.Logger.ERROR)
    try:
        builder = trt.Builder(log)
    except Exception as error:
        raise ValueError(f"makes no builder ({error})") from error
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


def run_plan(trt: Any, plan: Any) -> NDArray[np.float32]:
    """What an engine of the test graph computes on the GPU. Raises ValueError, EngineError, BackendUnavailableError."""
    from ..backends.tensorrt import cuda

    cuda.require_device()
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(plan)
    context = None if engine is None else engine.create_execution_context()
    if engine is None or context is None:
        raise ValueError("it does not load the engine that it built")
    stream, result = cuda.Stream(), np.empty_like(CONV_EXPECTED)
    memories = [cuda.DeviceMemory(one.nbytes) for one in (CONV_INPUT, result)]
    for index, memory in enumerate(memories):
        context.set_tensor_address(engine.get_tensor_name(index), memory.address)
    cuda.copy_to_device(memories[0], CONV_INPUT, stream)
    if not context.execute_async_v3(stream.number):
        raise ValueError("it does not run the engine that it built")
    cuda.copy_to_host(result, memories[1], stream)
    stream.synchronize()
    return result


def _ncnn(device: str = "") -> dict[str, Any]:
    """device: the number of a Vulkan device; empty for the CPU."""
    from ..backends.ncnn import keep_precision

    with loading("ncnn"):
        ncnn = importlib.import_module("ncnn")

    net = ncnn.Net()
    keep_precision(net.opt, "fp32")
    net.opt.use_vulkan_compute = bool(device)
    if device:
        net.set_vulkan_device(int(device))
    with scratch_folder("doctor") as folder:
        weights = folder / "conv.bin"
        weights.write_bytes(bytes(4) + CONV_WEIGHTS.tobytes())  # four zero bytes: float32
        if net.load_param_mem(_NCNN_CONV) or net.load_model(str(weights)):
            raise RuntimeError("it does not load the test graph")
    extractor = net.create_extractor()
    extractor.input("x", ncnn.Mat(CONV_INPUT[0]).clone())
    failed, output = extractor.extract("y")
    if failed:
        raise RuntimeError("it does not run the test graph")
    where = f" on {ncnn.get_gpu_info(int(device)).device_name()}" if device else ""
    return {"version": ncnn.__version__, "ran": _ran(np.array(output)[None], f"ran the test graph{where}")}


def _vulkan() -> dict[str, Any]:
    from ..backends.ncnn import count_devices

    devices, said = count_devices()
    return {"devices": devices, "said": said}


def _photos() -> dict[str, Any]:
    from ..cli.codecs import try_all

    return {"ran": f"reads and writes {', '.join(try_all())}"}


def _self_test(*words: str) -> dict[str, Any]:
    """What the command with ``--self-test`` says of a package."""
    from ..cli.photos import main

    said = io.StringIO()
    try:
        with redirect_stdout(said):
            main(words)
    except BackendUnavailableError as error:  # such as a precision that this engine does not have
        return {"refused": one_line(error)}
    return {"said": one_line(said.getvalue())}


_PROBES: Mapping[str, Callable[..., dict[str, Any]]] = {
    "onnxruntime": _onnxruntime,
    "provider": _provider,
    "openvino": _openvino,
    "openvino_environment": _openvino_environment,
    "tensorrt": lambda: _tensorrt("tensorrt"),
    "tensorrt-rtx": lambda: _tensorrt("tensorrt_rtx"),
    "ncnn": _ncnn,
    "photos": _photos,
    "self_test": _self_test,
    "vulkan": _vulkan,
}


def _ran(output: Any, how: str = "ran the test graph") -> str:
    """``how``, and how far off the output was. Raises ValueError where it is wrong."""
    worst = float(np.abs(np.asarray(output) - CONV_EXPECTED).max())
    if not worst <= TOLERANCE:  # NaN too
        raise ValueError(f"wrong result: the test graph's output is {worst:g} off numpy's")
    return f"{how} (at most {worst:.1g} off)"
