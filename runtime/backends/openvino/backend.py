"""OpenVINO: Intel and other CPUs, in float32 or, where the package and the processor have it, in bfloat16 and int8.

The graphs are compiled when the package is opened, for every size, unless ``python -m export.engine PACKAGE --target
openvino`` left the compiled models of this machine and version beside them. Models that it compiled for one size
(``--size``) are faster; they run the photos of that size.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...engines.cache import BLOB
from ...engines.entry import Engine
from ...engines.fit import Machine, environment, photo_sizes, usable
from ...engines.libraries import loading
from ...engines.refusal import build_command
from ...errors import BackendUnavailableError, EngineError, InputError, one_line
from ...machine.cores import usable_cores
from ...machine.forks import Library, keep_in_forks
from ...names import LOOP, Precision
from ...package.edits import with_key_stride
from ...package.manifest import Stage
from ...package.reading import Package
from ...planning.traits import Traits
from .. import bfloat16
from ..base import PLAIN, Call, Form
from ..host import Array, HostBackend, run_failure

with loading("openvino", "the backend openvino"):
    import openvino as ov

    from .graph import read_model

CPU, TARGET = "CPU", "openvino"


class OpenVinoBackend(HostBackend):
    """One compiled model and one infer request a stage, and one more for each size that there are engines of; a call
    points the request at its tensors and runs it.

    A size's engines are loaded when the first photo of that size comes, and with engines of some size there the models
    for every size are compiled when the first photo of another comes. With ``low_memory`` there are only
    those for every size: what they and a size's engines hold beside each other is not planned. providers: a device of
    OpenVINO's, CPU if there are none.
    """

    name = "openvino"
    traits = Traits(live=3.6, live_rest=1.9, weights=4.0, keeps="all", key_stride=True)

    def __init__(self, package: Package, providers: Sequence[str] | None = None, *, low_memory: bool = False) -> None:
        self._package, self._device = package, ", ".join(providers or (CPU,))
        self._core = open_core(self._device, package.manifest.precision)
        self._computes = compute_precision(self._core, package.manifest.precision)
        engines, others = _engines(package, self._core) if self._device == CPU else ([], [])
        sized = [engine for engine in engines if engine.key.get("profile")]
        self._any_size = {str(engine.key["stage"]): engine for engine in engines if engine not in sized}
        self._sized = [] if low_memory else sized
        stage_of = package.manifest.stage
        if sizes := ", ".join(sorted({photo_sizes(stage_of(str(engine.key["stage"])), engine) for engine in sized})):
            what = "left out: they take more memory" if low_memory else "run photos of that size"
            self.why = f"engines of {sizes} {what}"
        if others:
            told = f"engines that are not taken ({'; '.join(others[:3])})"
            self.why = "; ".join(
                filter(None, (self.why, f"{told}: `{build_command(package.path, TARGET)}` builds more"))
            )
        self._form = PLAIN
        self._requests: dict[str, ov.InferRequest] = {}
        self._requests_of_size: dict[Path, ov.InferRequest] = {}
        for stage in package.manifest.stages:
            if not any(engine.key.get("stage") == stage.name for engine in self._sized):
                self._requests[stage.name] = self._open(stage.name)

    def bind(self, stage: str, tensors: Mapping[str, Array], *, last: bool = True, form: Form = PLAIN) -> Call:
        request = (self._of_size(stage, tensors) if form == PLAIN else None) or self._of_any_size(stage, form)
        bound = {name: _tensor(array) for name, array in tensors.items()}
        unseen = [spec.name for spec in self._package.manifest.stage(stage).outputs]

        def call() -> None:
            try:
                for name, tensor in bound.items():
                    request.set_tensor(name, tensor)
                request.infer()
            except RuntimeError as error:
                raise run_failure(self.name, stage, error) from error
            while unseen:  # an output of another shape would be somewhere else, without a word
                name = unseen.pop()
                if (made := tuple(request.get_tensor(name).shape)) != tensors[name].shape:
                    raise run_failure(self.name, stage, ValueError(f"{name} is {made}, not {tensors[name].shape}"))

        return call

    def _of_size(self, stage: str, tensors: Mapping[str, Array]) -> ov.InferRequest | None:
        for engine in self._sized:
            shapes = {name: tuple(profile[0]) for name, profile in engine.key["profile"].items()}
            if engine.key.get("stage") == stage and all(tensors[name].shape == shapes[name] for name in shapes):
                if engine.path not in self._requests_of_size:
                    self._requests_of_size[engine.path] = self._load(engine, stage)
                return self._requests_of_size[engine.path]
        return None

    def _of_any_size(self, stage: str, form: Form) -> ov.InferRequest:
        """With the denoiser in this form. A request keeps its scratch memory for good: there is one at a time."""
        if stage == LOOP and form != self._form:
            self._requests.pop(LOOP, None)
            self._form = form
        if stage not in self._requests:
            self._requests[stage] = self._open(stage, form)
        return self._requests[stage]

    def _open(self, name: str, form: Form = PLAIN) -> ov.InferRequest:
        """For every size, from the stage's engine or its graph. Raises EngineError."""
        if form == PLAIN and name in self._any_size:
            return self._load(self._any_size[name], name)
        stage = self._package.manifest.stage(name)
        where = self._package.path / stage.file
        graph = self._package.graph(name)
        if form.key_stride != 1:
            graph = with_key_stride(graph, form.key_stride, str(where))
        try:
            model = read_model(graph, self._computes)
            return keep_in_forks(
                self._core.compile_model(model, self._device, self._config(stage)).create_infer_request()
            )
        except RuntimeError as error:
            raise EngineError(
                f"{where}: OpenVINO {ov.__version__} cannot load it ({one_line(error)}); update openvino or build "
                "the package again."
            ) from error

    def _load(self, engine: Engine, name: str) -> ov.InferRequest:
        """Raises EngineError."""
        content = io.BytesIO(engine.read(BLOB))
        config = self._config(self._package.manifest.stage(name))
        try:
            return keep_in_forks(self._core.import_model(content, self._device, config).create_infer_request())
        except RuntimeError as error:
            raise engine.failure(f"OpenVINO {ov.__version__} cannot load it") from error

    def _config(self, stage: Stage) -> dict[str, Any]:
        return cpu_config(self._computes, stage.tensors) if self._device == CPU else {}

    def close(self) -> None:
        self._requests.clear()
        self._requests_of_size.clear()


def _tensor(array: Array) -> ov.Tensor:
    """OpenVINO's tensor over numpy's memory, which it keeps alive."""
    if array.dtype == bfloat16.BITS:
        return ov.Tensor(array, ov.Shape(array.shape), ov.Type.bf16)
    return ov.Tensor(array, shared_memory=True)


_library = Library()


def open_core(device: str, precision: Precision) -> ov.Core:
    """Raises BackendUnavailableError for an absent device, InputError for a precision that it has not, EngineError in a
    process that was forked after its parent had used OpenVINO."""
    if problem := _library.use("OpenVINO was used"):  # seen: a child of a fork during a call compiled for ever
        raise EngineError(problem)
    core = keep_in_forks(ov.Core())
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


def engine_environment(core: ov.Core, precision: Precision) -> dict[str, Any]:
    """What a compiled model of a package in ``precision`` depends on: part of an engine's key."""
    capabilities = " ".join(sorted(core.get_property(CPU, "OPTIMIZATION_CAPABILITIES")))
    return environment(TARGET, ov.get_version()) | {
        "processor": f"{core.get_property(CPU, 'FULL_DEVICE_NAME')}: {capabilities}",
        "computes": compute_precision(core, precision),
    }


def _engines(package: Package, core: ov.Core) -> tuple[list[Engine], list[str]]:
    """The compiled models of this package's graphs, this machine and this version; and why the others are not."""
    here = Machine({TARGET: ov.get_version()}, environment=engine_environment(core, package.manifest.precision))
    found = [usable(package, stage.name, TARGET, here) for stage in package.manifest.stages]
    return [engine for one, _ in found for engine in one], list(dict.fromkeys(line for _, one in found for line in one))
