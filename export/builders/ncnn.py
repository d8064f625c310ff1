"""ONNX graph -> ncnn engine (param and bin) through pnnx: batch 1, every photo size with one engine.

pnnx runs the graph on made-up inputs and reads no arithmetic on shapes, so the graph is rewritten first. In the
denoiser the row of the shift table becomes an input (the table goes into a file beside the engine), and the graph
ends at eps: the sampler's update is a few small sums, which the backend does. The wavelet stages need no engine.
An engine's numbers are float32: in what precision ncnn keeps them is said when it is loaded, by the package.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from runtime.engines.cache import PARAM, SHIFTS, WEIGHTS
from runtime.engines.fit import REWRITE_VERSION, environment
from runtime.engines.libraries import load
from runtime.errors import EngineError, InputError
from runtime.machine.leftovers import scratch_folder
from runtime.names import Target

from ..passes.cpu_forms import restore
from ..passes.edit import Rewriting, copied
from ..passes.widen import widen
from .base import Built
from .ncnn_param import finish

_SIZES = ((64, 96), (32, 48))  # two sizes: what differs between them stays free
_PNNX_SECONDS = 600
_BLOCK = 1 << 16


class NcnnBuilder:
    """Raises BackendUnavailableError without ncnn and pnnx."""

    target: Target = "ncnn"
    flags: Mapping[str, Any] = {"rewrite": REWRITE_VERSION["ncnn"]}

    def __init__(self) -> None:
        self._ncnn, self._pnnx = (load(name, "--target ncnn") for name in ("ncnn", "pnnx"))
        converter = {"converter": f"pnnx {self._pnnx.__version__}"}
        self.environment: Mapping[str, Any] = environment(self.target, self._ncnn.__version__) | converter

    def build(self, graph: bytes, profile: Mapping[str, Any], timing_cache: Path) -> Built:
        """An engine takes every size, and a wavelet stage has no files. Raises InputError for an int8 graph."""
        model = widen(onnx.load_from_string(restore(graph)))
        if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
            raise InputError("--target ncnn takes no int8 packages; build another with `python -m export.build`.")
        inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
        files: dict[str, bytes] = {}
        if "image" not in (*inputs, *outputs):
            if "timestep" in inputs:
                model, files[SHIFTS] = _denoiser(model)
            files |= self._convert(model)
        return files, {}

    def _convert(self, model: onnx.ModelProto) -> dict[str, bytes]:
        try:
            written = self._converted(model)
        except OSError as error:
            place = tempfile.gettempdir()
            cure = f"free space in {place}, or let TMPDIR name another folder"
            raise EngineError(f"{place}: no room for pnnx to work in ({error.strerror}); {cure}.") from error
        return self._checked(*written)

    def _converted(self, model: onnx.ModelProto) -> tuple[str, bytes]:
        """What pnnx wrote: layers and weights. Raises OSError for a disk that is full."""
        with scratch_folder("ncnn") as folder:
            onnx.save(model, folder / "stage.onnx")
            command = [self._pnnx.EXEC_PATH, "stage.onnx", "fp16=0"]
            for key, (height, width) in zip(("inputshape", "inputshape2"), _SIZES, strict=True):
                free = {0: 1, 2: height, 3: width}  # where the graph leaves a size open
                dims = [value.type.tensor_type.shape.dim for value in model.graph.input]
                shapes = [[size.dim_value or free[axis] for axis, size in enumerate(sizes)] for sizes in dims]
                command.append(f"{key}={','.join(map(str, shapes))}".replace(" ", ""))
            code, output, param, weights = -1, "", "", b""
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PNNX_SECONDS)
                code, output = done.returncode, done.stdout + done.stderr
                param = (folder / "stage.ncnn.param").read_text()
                weights = (folder / "stage.ncnn.bin").read_bytes()
            except (FileNotFoundError, UnicodeDecodeError, subprocess.TimeoutExpired) as error:
                code, output = code or -1, f"{output} {error}"
            with (folder / "full").open("wb") as probe:  # pnnx ends with 0 on a full disk: OSError says that it is
                probe.write(bytes(_BLOCK))
        if code:
            raise self._failure(code, " ".join(output.split())[-400:])
        return param, weights

    def _checked(self, written: str, weights: bytes) -> dict[str, bytes]:
        """The engine, where ncnn loads it."""
        from runtime.backends.ncnn import load_net

        try:
            param = finish(written)
        except (ValueError, IndexError) as error:
            raise self._failure(0, "it left half of the layers") from error
        # what pnnx cannot convert it writes as an operator of its own
        kinds = {line.split()[0] for line in param.splitlines()[2:] if line.strip()}
        if foreign := sorted(kind for kind in kinds if self._ncnn.layer_to_index(kind) < 0):
            raise self._failure(0, f"no ncnn layer for {', '.join(foreign)}")
        if reason := load_net(self._ncnn.Net(), param.encode(), weights):
            raise self._failure(0, f"ncnn does not load what it wrote: {reason}. Is {tempfile.gettempdir()} full?")
        return {PARAM: param.encode(), WEIGHTS: weights}

    def _failure(self, code: int, reason: str) -> EngineError:
        return EngineError(
            f"pnnx {self._pnnx.__version__} could not convert the graph (code {code}): {reason}. Install the "
            "versions of constraints.txt (`pip install -c constraints.txt ncnn pnnx`) or use another backend."
        )


def _denoiser(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bytes]:
    """(x_cond, x_t, shifts) -> eps, for batch 1, and the table of the shifts as .npy."""
    rewriting = Rewriting(model.SerializeToString())
    graph, constants = rewriting.model.graph, rewriting.constants
    made = {name: node for node in graph.node for name in node.output}
    gathers = [node for node in graph.node if node.op_type == "Gather" and node.input[0] in constants]
    splits = [node for node in graph.node if node.op_type == "Split" and gathers and node.input[0] in gathers[0].output]
    if len(gathers) != 1 or len(splits) != 1:
        raise EngineError("the denoiser graph has no single table of time shifts; build the package again.")
    table = constants[gathers[0].input[0]]
    eps = [node for node in graph.node if node.op_type == "Conv"][-1].output[0]

    nodes: list[onnx.NodeProto] = []
    renamed: dict[str, str] = {}
    for original, node in zip(graph.node, copied(graph.node), strict=True):
        if node.op_type == "Unsqueeze" and node.input[0] in splits[0].output:
            renamed[node.output[0]] = node.input[0]  # the shifts come in as (1, C, 1, 1)
            continue
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.output == splits[0].output:
            node.input[0] = "shifts"
        source = made.get(node.input[1]) if node.op_type == "Reshape" else None
        if source is not None and source.op_type == "Concat":
            del node.attribute[:]  # allowzero
            rest = source.input[1:]  # behind the batch
            if sum(name not in constants for name in rest) == 2:  # back to the photo's height and width
                norm = _above(made, original, "GroupNormalization").output[0]
                node.input[1] = f"{norm}_shape"
                if node.input[1] not in made:
                    made[node.input[1]] = helper.make_node("Shape", [norm], [node.input[1]])
                    nodes.append(made[node.input[1]])
            else:
                sizes = [1, *(int(constants[name].item()) if name in constants else -1 for name in rest)]
                node.input[1] = "shape_" + "_".join(map(str, sizes))
                rewriting.added[node.input[1]] = np.array(sizes, np.int64)
        nodes.append(node)

    needed = {eps}
    for node in reversed(nodes):
        if needed.intersection(node.output):
            rewriting.nodes.insert(0, node)
            needed.update(node.input)

    def value(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    size: list[int | str] = [1, 3, "height", "width"]
    del graph.input[:], graph.output[:]
    graph.input.extend([value("x_cond", size), value("x_t", size), value("shifts", [1, table.shape[1], 1, 1])])
    graph.output.append(value(eps, size))
    content = io.BytesIO()
    np.save(content, table)
    return onnx.load_from_string(rewriting.content()), content.getvalue()


def _above(made: Mapping[str, onnx.NodeProto], node: onnx.NodeProto, kind: str) -> onnx.NodeProto:
    """The nearest node of ``kind`` above ``node``, along first inputs."""
    found: onnx.NodeProto | None = node
    while found is not None and found.op_type != kind:
        found = made.get(found.input[0])
    if found is None:
        raise EngineError(f"the denoiser graph has no {kind} above {node.name or node.op_type}; build it again.")
    return found
