"""OpenVINO: Intel and other CPUs, in float32 or, where the processor has it, in bfloat16."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendUnavailableError, EngineError, InputError
from ..graph_guard import check_graph
from ..package import Package, Stage, TensorSpec
from ..threads import usable_cores
from .base import Call

try:
    import openvino as ov
except ImportError as error:
    raise BackendUnavailableError(
        f"the backend openvino is not installed here ({error}); `pip install openvino`."
    ) from error

_DEVICE = "CPU"
# A package says its precision; OpenVINO's own default would be bfloat16 wherever the processor has it.
_PRECISION = {"fp32": ov.Type.f32, "fp16": ov.Type.f32, "bf16": ov.Type.bf16}


def open_backend(package: Package, providers: Sequence[str] | None) -> OpenVinoBackend:
    return OpenVinoBackend(package, providers or (_DEVICE,))


@dataclass(frozen=True)
class HostTensor:
    """OpenVINO's tensor over numpy's memory; array is None for bfloat16, which numpy does not have."""

    value: ov.Tensor
    array: NDArray[Any] | None


class OpenVinoBackend:
    """One compiled model and one infer request a stage; a call points the request at its tensors and runs it."""

    name = "openvino"
    why = ""

    def __init__(self, package: Package, devices: Sequence[str]) -> None:
        core = ov.Core()
        device = devices[0]
        if len(devices) > 1 or device.split(".")[0] not in core.available_devices:
            raise BackendUnavailableError(
                f"OpenVINO {ov.__version__} has no device {', '.join(devices)} here (it has "
                f"{', '.join(core.available_devices)}); ask for one of those."
            )
        precision, bf16 = package.manifest.precision, "BF16" in core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not bf16:
            raise InputError(
                f"{package.path}: a bf16 package, and this processor has no bfloat16 arithmetic; use an fp32 package."
            )
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": usable_cores(),
            # of an int8 package: of what is not int8, where it adds far less error than int8 does (docs/int8.md)
            "INFERENCE_PRECISION_HINT": _PRECISION.get(precision, ov.Type.bf16 if bf16 else ov.Type.f32),
        }
        self._requests = {
            stage.name: _request(core, package, stage, device, config if device == _DEVICE else {})
            for stage in package.manifest.stages
        }

    def buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> HostTensor:
        if spec.dtype == "bfloat16":
            return HostTensor(ov.Tensor(ov.Type.bf16, ov.Shape(shape)), None)
        array = np.zeros(shape, spec.dtype)
        return HostTensor(ov.Tensor(array, shared_memory=True), array)

    def upload(self, buffer: HostTensor, array: NDArray[Any]) -> None:
        assert buffer.array is not None, "the loop uploads photos, noise and tables: none of them is bfloat16"
        np.copyto(buffer.array, array, casting="same_kind")

    def download(self, buffer: HostTensor) -> NDArray[Any]:
        assert buffer.array is not None
        array = buffer.array
        return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array

    def bind(self, stage: str, tensors: Mapping[str, HostTensor], *, last: bool = True) -> Call:
        request = self._requests[stage]
        bound = dict(tensors)

        def call() -> None:
            try:
                for name, tensor in bound.items():
                    request.set_tensor(name, tensor.value)
                request.infer()
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:300]
                raise EngineError(
                    f"openvino could not run {stage}: {reason}. Out of memory? Use a smaller photo or batch."
                ) from error

        return call

    def close(self) -> None:
        self._requests.clear()


def _request(core: ov.Core, package: Package, stage: Stage, device: str, config: dict[str, Any]) -> ov.InferRequest:
    where = package.path / stage.file
    graph = package.read(stage.file)
    check_graph(graph, str(where))
    try:
        model = core.read_model(graph)
        return core.compile_model(model, device, config).create_infer_request()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise EngineError(
            f"{where}: OpenVINO {ov.__version__} cannot load it ({reason}); update openvino or build the package again."
        ) from error
