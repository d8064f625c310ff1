"""A backend that looks on: the fp32 graphs in onnxruntime, with the tensors to be quantised among their outputs.

The runtime's own loop drives it, so what it sees is what the package computes at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.base import PLAIN, Call, Form
from runtime.backends.host import HostBackend
from runtime.engines.libraries import loading
from runtime.errors import EngineError, one_line
from runtime.machine.cores import usable_cores
from runtime.package.reading import Package
from runtime.planning.traits import Traits

with loading("onnxruntime"):
    import onnxruntime as ort

Array = NDArray[Any]
Watch = Callable[[str, int, Mapping[str, Array], Mapping[str, Array]], None]


class WatchedBackend(HostBackend):
    """``watch(stage, step, tensors, outputs)`` is called after each run of a stage: step counts its runs for one photo,
    by all samplings, from 0; outputs are those that the manifest names.

    graphs: stage -> (its graph with more outputs, the tensors to show to ``watch``).
    """

    name = "watched"
    traits = Traits(live=1.45, live_rest=1.1, weights=4.0)  # of onnxruntime

    def __init__(self, package: Package, graphs: Mapping[str, tuple[bytes, Sequence[str]]], watch: Watch) -> None:
        self._watch = watch
        self._tensors = {stage: tuple(tensors) for stage, (_, tensors) in graphs.items()}
        self._sessions = {
            stage.name: _session(graphs[stage.name][0] if stage.name in graphs else package.graph(stage.name))
            for stage in package.manifest.stages
        }
        self._steps: dict[str, int] = {}
        self._release = ort.RunOptions()
        self._release.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def next_photo(self) -> None:
        self._steps.clear()

    def bind(self, stage: str, tensors: Mapping[str, Array], *, last: bool = True, form: Form = PLAIN) -> Call:
        session = self._sessions[stage]
        inputs = {node.name: tensors[node.name] for node in session.get_inputs()}
        outputs = [node.name for node in session.get_outputs()]
        options = self._release if last else None

        def call() -> None:
            try:
                arrays = dict(zip(outputs, session.run(outputs, inputs, options), strict=True))
            except Exception as error:  # onnxruntime's exceptions share no base but Exception
                raise EngineError(
                    f"onnxruntime could not run {stage}: {one_line(error)}. Out of memory? Free some."
                ) from error
            step = self._steps.get(stage, 0)
            self._steps[stage] = step + 1
            seen = {name: inputs[name] if name in inputs else arrays[name] for name in self._tensors.get(stage, ())}
            results = {name: array for name, array in arrays.items() if name in tensors}
            self._watch(stage, step, seen, results)
            for name, array in results.items():
                np.copyto(tensors[name], array)

        return call

    def close(self) -> None:
        self._sessions.clear()


def _session(graph: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
