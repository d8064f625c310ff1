"""Names that several rooms repeat. It imports nothing of ours and no numpy: commands answer ``--help`` from here."""

from __future__ import annotations

from typing import Literal, get_args

__version__ = "0.1.0"

Precision = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
DType = Literal["float32", "float16", "bfloat16", "int32"]
DTYPES: tuple[str, ...] = get_args(DType)
DTYPE_BYTES: dict[DType, int] = {"float32": 4, "float16": 2, "bfloat16": 2, "int32": 4}

Kind = Literal["whole", "strips", "tiles"]
KINDS: tuple[str, ...] = get_args(Kind)
"""How a plan runs a photo."""

Start = Literal["normal", "zero"]
STARTS: tuple[str, ...] = get_args(Start)
"""What a sampling begins from as x_T: a standard normal field, or zero."""
PUBLISHED = "published"
"""The sampling of the paper, which every package has."""
FAST = "fast"
"""The name of one with few calls, where it was calibrated or trained."""

SamplerName = Literal["ddim", "dpmpp-2m"]
SAMPLERS: tuple[str, ...] = get_args(SamplerName)

BackendName = Literal["onnxruntime", "openvino", "ncnn", "tensorrt", "tensorrt-rtx", "auto"]
BACKENDS: tuple[str, ...] = get_args(BackendName)
TAKES: dict[str, tuple[Precision, ...]] = {
    "onnxruntime": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "ncnn": ("fp32", "fp16", "bf16"),
    "tensorrt": ("fp32", "fp16", "bf16", "int8"),
    "tensorrt-rtx": ("fp32", "fp16", "bf16"),
}
"""Backend -> the precisions of the packages that it is tested with; bf16 in openvino where the processor has it."""
CANDIDATES = ("tensorrt", "tensorrt-rtx", "onnxruntime", "openvino", "ncnn")
"""What ``auto`` chooses from."""
Target = Literal["tensorrt", "tensorrt-rtx", "ncnn", "openvino", "cuda"]
TARGETS: tuple[str, ...] = get_args(Target)
"""What ``export.engine`` builds for: backends, and ``cuda``, the backend onnxruntime's provider."""
CUDA_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
"""Of the packages that ``cuda`` takes."""

LOOP = "denoiser"
"""The stage that the sampling loop runs at every step."""
