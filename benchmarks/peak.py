"""How fast this machine multiplies matrices, by number type: what a share of the peak is a share of."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from runtime.engines.libraries import loading

_SIDE, _GPU_SIDE = 2048, 8192
_REPEATS, _AT_LEAST_S = 6, 0.2  # a GPU that was idle takes a while to raise its clocks


def gemm_peak() -> dict[str, Any]:
    """{"cpu": {number type: GFLOP/s}, "cuda": the same or None, "how": in words}. The best of a few products.

    Of random numbers: products of constants draw less power and run faster on a GPU, by up to 13 %. float32 is without
    TF32, which has a peak of its own.

    cpu float32 is numpy's, cpu bfloat16 is torch's where torch is installed and the processor computes it. cuda is
    torch's where it sees a GPU, else onnxruntime's where that has CUDA.
    """
    from runtime.machine.gpu import current_gpu
    from runtime.machine.host import describe

    found: dict[str, Any] = {"cpu": {"float32": _numpy_gflops()}, "cuda": None}
    how = [f"cpu float32: numpy, {_SIDE} x {_SIDE}"]
    bfloat16 = not {"amx_bf16", "avx512_bf16", "bf16"}.isdisjoint(describe()["features"])
    if (bfloat16 or current_gpu()) and importlib.util.find_spec("torch") is not None:
        import torch

        if bfloat16:
            found["cpu"]["bfloat16"] = _torch_gflops("cpu", torch.bfloat16, _SIDE)
            how.append("cpu bfloat16: torch")
        if torch.cuda.is_available():
            kinds = {
                "float32": torch.float32,
                "tf32": torch.float32,
                "float16": torch.float16,
                "bfloat16": torch.bfloat16,
            }
            found["cuda"] = {}
            for name, kind in kinds.items():
                torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
                found["cuda"][name] = _torch_gflops("cuda", kind, _GPU_SIDE)
            how.append(f"cuda: torch, {_GPU_SIDE} x {_GPU_SIDE}, float32 without TF32")
    if found["cuda"] is None and _onnxruntime_has("CUDAExecutionProvider"):
        cuda = "CUDAExecutionProvider"
        found["cuda"] = {kind: onnxruntime_gflops(cuda, kind, _GPU_SIDE) for kind in ("float32", "tf32", "float16")}
        how.append(f"cuda: onnxruntime, {_GPU_SIDE} x {_GPU_SIDE}, float32 without TF32")
    return found | {"how": "; ".join(how)}


def _best(multiply: Callable[[], object], side: int) -> float:
    multiply()
    seconds: list[float] = []
    while len(seconds) < _REPEATS or sum(seconds) < _AT_LEAST_S:
        started = perf_counter()
        multiply()
        seconds.append(perf_counter() - started)
    return round(2 * side**3 / min(seconds) / 1e9, 1)


def _numpy_gflops() -> float:
    a = np.random.default_rng(0).standard_normal((_SIDE, _SIDE), np.float32)
    result = np.empty_like(a)
    return _best(lambda: np.matmul(a, a, out=result), _SIDE)


def _torch_gflops(device: str, kind: Any, side: int) -> float:
    import torch

    a = torch.randn(side, side, dtype=kind, device=device)

    def multiply() -> None:
        torch.mm(a, a)
        if device == "cuda":
            torch.cuda.synchronize()

    return _best(multiply, side)


def _onnxruntime_has(provider: str) -> bool:
    if importlib.util.find_spec("onnxruntime") is None:
        return False
    with loading("onnxruntime"):
        import onnxruntime as ort

    return provider in ort.get_available_providers()


def onnxruntime_gflops(provider: str, kind: str, side: int) -> float:
    """A MatMul graph on ``provider``, its operands and result staying on the device. kind: of numpy's, or "tf32"."""
    import onnx
    from onnx import helper

    with loading("onnxruntime"):
        import onnxruntime as ort

    dtype = np.dtype("float32" if kind == "tf32" else kind)
    number = helper.np_dtype_to_tensor_dtype(dtype)
    shape = (side, side)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "a"], ["c"])],
        "gemm",
        [helper.make_tensor_value_info("a", number, shape)],
        [helper.make_tensor_value_info("c", number, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    device = "cpu" if provider == "CPUExecutionProvider" else "cuda"
    options = {} if device == "cpu" else {"use_tf32": str(int(kind == "tf32"))}
    session = ort.InferenceSession(model.SerializeToString(), providers=[(provider, options)])
    content = np.random.default_rng(0).standard_normal(shape, np.float32).astype(dtype)
    operand = ort.OrtValue.ortvalue_from_numpy(content, device, 0)
    result = ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype.type, device, 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input("a", operand)
    binding.bind_ortvalue_output("c", result)
    return _best(lambda: session.run_with_iobinding(binding), side)
