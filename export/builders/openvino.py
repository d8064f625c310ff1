"""ONNX graph -> OpenVINO's compiled model for this machine's CPU: what opening a package would compile each time."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.backends.openvino import backend as openvino_
from runtime.backends.openvino import graph as openvino_graph
from runtime.engines.fit import WRITTEN
from runtime.errors import EngineError
from runtime.names import Precision


@dataclass(frozen=True)
class Options:
    """precision: what OpenVINO computes in (``openvino_.compute_precision``); it follows the package's. written: how
    the graph is written for OpenVINO (``engine_fit.WRITTEN``)."""

    precision: str
    written: int = WRITTEN[openvino_.TARGET]


class OpenVinoBuilder:
    """Raises BackendUnavailableError without OpenVINO, InputError for a precision that the processor has not."""

    target = openvino_.TARGET

    def __init__(self, precision: Precision) -> None:
        self._core = openvino_.open_core(openvino_.CPU, precision)
        self.options = Options(openvino_.compute_precision(self._core, precision))

    @property
    def environment(self) -> dict[str, str]:
        """What an engine depends on: part of the key."""
        return openvino_.environment(self._core)

    def build(
        self, graph: bytes, profile: Mapping[str, Any], timing_cache: Path
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The engine file and the report of the build. profile: the one shape of each input, or nothing for an engine
        that takes every size and batch. Raises EngineError."""
        started = time.perf_counter()
        content = io.BytesIO()
        try:
            model = openvino_graph.read_model(self._core, graph, self.options.precision)
            if profile:
                model.reshape({name: shapes[0] for name, shapes in profile.items()})
            tensors = [tensor.any_name for tensor in (*model.inputs, *model.outputs)]
            config = openvino_.cpu_config(self.options.precision, tensors)
            compiled = self._core.compile_model(model, openvino_.CPU, config)
            compiled.export_model(content)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise EngineError(f"openvino could not compile the graph: {reason}. Update openvino.") from error
        engine = content.getvalue()
        seconds = round(time.perf_counter() - started, 2)
        return {openvino_.ENGINE: engine}, {"build_seconds": seconds, "engine_bytes": len(engine)}
