"""ONNX graph -> OpenVINO's compiled model for this machine's CPU: what opening a package would compile each time."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.backends.openvino import backend as openvino_
from runtime.backends.openvino import graph as openvino_graph
from runtime.engines.cache import BLOB
from runtime.engines.fit import REWRITE_VERSION
from runtime.errors import EngineError, one_line
from runtime.names import Precision, Target

from .base import Built


class OpenVinoBuilder:
    """Raises BackendUnavailableError without OpenVINO, InputError for a precision that the processor has not."""

    target: Target = "openvino"
    flags: Mapping[str, Any] = {"rewrite": REWRITE_VERSION["openvino"]}

    def __init__(self, precision: Precision) -> None:
        self._core = openvino_.open_core(openvino_.CPU, precision)
        self._computes = openvino_.compute_precision(self._core, precision)
        self.environment: Mapping[str, Any] = openvino_.engine_environment(self._core, precision)

    def build(self, graph: bytes, profile: Mapping[str, Any], timing_cache: Path) -> Built:
        """profile: each input's three shapes are one and the same, or it is empty: every size and batch."""
        content = io.BytesIO()
        try:
            model = openvino_graph.read_model(graph, self._computes)
            if profile:
                model.reshape({name: shapes[0] for name, shapes in profile.items()})
            tensors = [tensor.any_name for tensor in (*model.inputs, *model.outputs)]
            config = openvino_.cpu_config(self._computes, tensors)
            compiled = self._core.compile_model(model, openvino_.CPU, config)
            compiled.export_model(content)
            self._core.import_model(io.BytesIO(content.getvalue()), openvino_.CPU, config)  # as a run will
        except RuntimeError as error:
            raise EngineError(f"openvino could not compile the graph: {one_line(error)}. Update openvino.") from error
        return {BLOB: content.getvalue()}, {}
