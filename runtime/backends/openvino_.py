"""OpenVINO: Intel and other CPUs, in float32 or, where the package and the processor have it, in bfloat16 and int8.

The graphs are compiled when the package is opened, unless ``python -m export.engine PACKAGE --target openvino`` left
the compiled models of this machine and version beside them.
"""

from __future__ import annotations

import io
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import bfloat16
from ..engine_cache import Engine, EngineCache
from ..errors import BackendUnavailableError, EngineError, InputError, OutOfMemoryError, out_of_memory
from ..graph_guard import check_graph
from ..key_stride import with_key_stride
from ..package import Package, Precision, Stage, TensorSpec
from ..program import LOOP
from ..threads import usable_cores
from .base import PLAIN, Call, Form, Job, Part, Traits, in_order

try:
    import openvino as ov
except ImportError as error:
    raise BackendUnavailableError(
        f"the backend openvino is not installed here ({error}); `pip install openvino`."
    ) from error

CPU, TARGET, ENGINE = "CPU", "openvino", "engine.blob"


def open_backend(package: Package, providers: Sequence[str] | None, *, frugal: bool = False) -> OpenVinoBackend:
    return OpenVinoBackend(package, providers or (CPU,))


@dataclass(frozen=True)
class HostTensor:
    """OpenVINO's tensor over numpy's memory."""

    value: ov.Tensor
    array: NDArray[Any]


class OpenVinoBackend:
    """One compiled model and one infer request a stage; a call points the request at its tensors and runs it."""

    name = "openvino"
    traits = Traits(live=3.6, live_rest=1.9, weights=4.0, keeps="all", key_stride=True)
    why = ""

    def __init__(self, package: Package, devices: Sequence[str]) -> None:
        device, precision = ", ".join(devices), package.manifest.precision
        core = open_core(device, precision)
        engines = _engines(package, core) if device == CPU else {}
        self._compile = (core, package, device, engines)
        self._form = PLAIN
        self._requests = {
            stage.name: _request(core, package, stage, device, engines.get(stage.name))
            for stage in package.manifest.stages
        }

    def buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> HostTensor:
        if spec.dtype == "bfloat16":
            bits = np.zeros(shape, bfloat16.BITS)
            return HostTensor(ov.Tensor(bits, ov.Shape(shape), ov.Type.bf16), bits)
        array = np.zeros(shape, spec.dtype)
        return HostTensor(ov.Tensor(array, shared_memory=True), array)

    def upload(self, buffer: HostTensor, array: NDArray[Any]) -> None:
        bfloat16.fill(buffer.array, array)

    def download(self, buffer: HostTensor) -> NDArray[Any]:
        return bfloat16.floats(buffer.array)

    def bind(self, stage: str, tensors: Mapping[str, HostTensor], *, last: bool = True, form: Form = PLAIN) -> Call:
        if stage == LOOP:
            self._take_form(form)
        request = self._requests[stage]
        bound = dict(tensors)

        def call() -> None:
            try:
                for name, tensor in bound.items():
                    request.set_tensor(name, tensor.value)
                request.infer()
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:300]
                failure = OutOfMemoryError if out_of_memory(error) else EngineError
                raise failure(
                    f"openvino could not run {stage}: {reason}. Out of memory? Use a smaller photo or batch."
                ) from error

        return call

    def _take_form(self, form: Form) -> None:
        """Have the denoiser in this form. A request keeps its scratch memory for good: there is one at a time."""
        if form != self._form:
            core, package, device, engines = self._compile
            del self._requests[LOOP]
            engine = engines.get(LOOP) if form == PLAIN else None
            stage = package.manifest.stage(LOOP)
            self._requests[LOOP] = _request(core, package, stage, device, engine, form.key_stride)
            self._form = form

    def sequence(self, parts: Sequence[Part]) -> Job:
        return in_order(parts)

    def close(self) -> None:
        self._requests.clear()


def open_core(device: str, precision: Precision) -> ov.Core:
    """Raises BackendUnavailableError for an absent device, InputError for a precision that it has not."""
    core = ov.Core()
    if device.split(".")[0] not in core.available_devices:
        raise BackendUnavailableError(
            f"OpenVINO {ov.__version__} has no device {device} here (it has {', '.join(core.available_devices)}); ask "
            "for one of those."
        )
    if precision == "bf16" and not _has_bfloat16(core, device):
        raise InputError("a bf16 package, and this processor has no bfloat16 arithmetic; use an fp32 package.")
    return core


def _has_bfloat16(core: ov.Core, device: str) -> bool:
    return "BF16" in core.get_property(device, "OPTIMIZATION_CAPABILITIES")


def compute_precision(core: ov.Core, precision: Precision) -> str:
    """``f32`` or ``mixed``: bfloat16 for what is not int8, but for the stages that a photo goes into or comes out of.
    OpenVINO's own default would be bfloat16 everywhere on a processor that has it, for float32 packages too."""
    return "mixed" if precision in ("bf16", "int8") and _has_bfloat16(core, CPU) else "f32"


def cpu_config(computes: str, tensors: Iterable[str]) -> dict[str, Any]:
    """How a graph with these inputs and outputs is compiled. Eight bits of mantissa would not hold a photo."""
    half = computes == "mixed" and "image" not in tensors
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": usable_cores(),
        "INFERENCE_PRECISION_HINT": ov.Type.bf16 if half else ov.Type.f32,
        # kernels kept for shapes seen before; the default of 5000 only grows in a service that sees photos of any size
        "CPU_RUNTIME_CACHE_CAPACITY": 100,
    }


def environment(core: ov.Core) -> dict[str, str]:
    """What a compiled model depends on."""
    return {
        "library": f"openvino {ov.get_version()}",
        "processor": f"{core.get_property(CPU, 'FULL_DEVICE_NAME')}: "
        + " ".join(sorted(core.get_property(CPU, "OPTIMIZATION_CAPABILITIES"))),
        "platform": f"{platform.system()} {platform.machine()}".lower(),
    }


def _engines(package: Package, core: ov.Core) -> dict[str, Engine]:
    """The compiled models of this package's graphs, this machine and this version, by stage."""
    wanted = {"target": TARGET, "environment": environment(core)}
    wanted["flags"] = {"precision": compute_precision(core, package.manifest.precision)}
    graphs = {stage.name: package.manifest.files[stage.file][0] for stage in package.manifest.stages}
    return {
        str(engine.key["stage"]): engine
        for engine in EngineCache(package.path).entries()
        if all(engine.key.get(name) == value for name, value in wanted.items())
        and engine.key.get("graph_sha256") == graphs.get(str(engine.key.get("stage")))
    }


def _request(
    core: ov.Core,
    package: Package,
    stage: Stage,
    device: str,
    engine: Engine | None,
    key_stride: int = 1,
) -> ov.InferRequest:
    config = cpu_config(compute_precision(core, package.manifest.precision), stage.tensors) if device == CPU else {}
    if engine is not None:
        if ENGINE not in engine.files:
            raise EngineError(f"{engine.path}: not an engine of OpenVINO. {engine.rebuild}")
        content = engine.read(ENGINE)
        try:
            return core.import_model(io.BytesIO(content), device, config).create_infer_request()
        except RuntimeError as error:
            raise EngineError(f"{engine.path}: OpenVINO {ov.__version__} cannot load it. {engine.rebuild}") from error
    where = package.path / stage.file
    graph = package.read(stage.file)
    check_graph(graph, str(where))
    if key_stride != 1:
        graph = with_key_stride(graph, key_stride, str(where))
    try:
        model = core.read_model(graph)
        return core.compile_model(model, device, config).create_infer_request()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise EngineError(
            f"{where}: OpenVINO {ov.__version__} cannot load it ({reason}); update openvino or build the package again."
        ) from error
