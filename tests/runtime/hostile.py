"""Graphs of strangers, each made of a small package's own: what asks for terabytes or hours, or is no package's."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

value = helper.make_tensor_value_info
Edit = Callable[[onnx.GraphProto], None]
KEPT = "x_cond_kept"  # what dwt's own nodes make of x_cond, where an attack comes after it


def put(package: Path, name: str, content: bytes) -> None:
    """Replace a file of a package, its hash and size in order."""
    (package / name).write_bytes(content)
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    (package / "manifest.json").write_text(json.dumps(manifest))


def edited(content: bytes, edit: Edit) -> bytes:
    model = onnx.load_from_string(content)
    edit(model.graph)
    return model.SerializeToString()


def add(*nodes: onnx.NodeProto, **constants: object) -> Edit:
    """Nodes that turn ``x_cond_kept`` into dwt's output x_cond. constants: int64, or float32 where they are floats."""

    def edit(graph: onnx.GraphProto) -> None:
        (last,) = (node for node in graph.node if "x_cond" in node.output)
        last.output[:] = [KEPT if name == "x_cond" else name for name in last.output]
        for node in graph.node:
            node.input[:] = [KEPT if name == "x_cond" else name for name in node.input]
        graph.node.extend(nodes)
        for name, value in constants.items():
            array = np.array(value)
            graph.initializer.append(
                numpy_helper.from_array(array.astype("f4") if array.dtype == "f8" else array, name)
            )

    return edit


def node(operator: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def chain(count: int, operator: str = "Neg") -> list[onnx.NodeProto]:
    names = [KEPT, *(f"c{number}" for number in range(count - 1)), "x_cond"]
    return [node(operator, a, b) for a, b in pairwise(names)]


def to_zero(name: str) -> list[onnx.NodeProto]:
    """x_cond as it was, with the mean of ``name`` times 0 in it: no engine leaves ``name`` out."""
    mean = helper.make_node("ReduceMean", [name], ["mean"], keepdims=0)
    return [mean, node("Mul", "mean zero", "nothing"), node("Add", f"{KEPT} nothing", "x_cond")]


def loop(turns: int) -> Edit:
    body = helper.make_graph(
        [node("Identity", "go", "on"), node("Neg", KEPT, "turned")],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, [])],
        [value("on", TensorProto.BOOL, []), value("turned", 1, [None] * 4)],
    )
    nodes = node("Loop", "turns yes", "made", body=body), *to_zero("made")
    return add(*nodes, turns=turns, yes=True, zero=0.0)


def outer(graph: onnx.GraphProto) -> None:
    """Sums of a column and a row, again and again: numbers squared each time, of constants alone."""
    nodes, name = [], "few"
    for turn in range(4):
        nodes += [node("Reshape", f"{name} column", f"a{turn}"), node("Reshape", f"{name} row", f"b{turn}")]
        nodes += [node("Add", f"a{turn} b{turn}", f"s{turn}")]
        name = f"s{turn}"
    constants = {"few": [1.0] * 60, "column": [-1, 1], "row": [1, -1], "zero": 0.0}
    add(*nodes, *to_zero(name), **constants)(graph)


def sparse(graph: onnx.GraphProto) -> None:
    values = numpy_helper.from_array(np.ones(1, "f4"), "huge")
    place = numpy_helper.from_array(np.zeros(1, "i8"))
    graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=place, dims=[1 << 34]))
    add(*to_zero("huge"), zero=0.0)(graph)


def cycle(graph: onnx.GraphProto) -> None:
    add(node("Add", f"{KEPT} back", "x_cond"), node("Neg", "x_cond", "back"))(graph)


def twice(graph: onnx.GraphProto) -> None:
    add(node("Neg", KEPT, "x_cond"), node("Neg", KEPT, "x_cond"))(graph)


def two_constants(graph: onnx.GraphProto) -> None:
    graph.initializer.append(graph.initializer[0])


def fields(graph: onnx.GraphProto) -> None:
    graph.node[0].output.extend([""] * (1 << 20))


def typed(graph: onnx.GraphProto) -> None:
    graph.initializer.append(onnx.TensorProto(name="t", data_type=3, dims=[1 << 20], int32_data=[1] * (1 << 20)))


def short(graph: onnx.GraphProto) -> None:
    graph.initializer.append(onnx.TensorProto(name="t", data_type=1, dims=[1 << 40], raw_data=b"\0" * 4))


def declared(graph: onnx.GraphProto) -> None:
    graph.output[0].type.tensor_type.shape.dim[2].dim_param = "height"


def another_type(graph: onnx.GraphProto) -> None:
    add(node("Cast", KEPT, "x_cond", to=TensorProto.FLOAT16))(graph)


TERABYTES = [1 << 20, 1 << 20]
DOUBLES = [(KEPT, "d0"), *((f"d{number}", f"d{number + 1}") for number in range(40))]
ATTACKS: dict[str, tuple[Edit, str]] = {
    "ConstantOfShape of 3 GB": (
        add(node("ConstantOfShape", "much", "c"), *to_zero("c"), much=[800 << 20], zero=0.0),
        "the operator ConstantOfShape",
    ),
    "Expand to terabytes": (
        add(node("Expand", "zero much", "c"), *to_zero("c"), much=TERABYTES, zero=0.0),
        "Expand makes",
    ),
    "Expand of the picture": (
        add(node("Expand", f"{KEPT} much", "c"), *to_zero("c"), much=[1 << 30, 1, 1, 1, 1], zero=0.0),
        "Expand makes",
    ),
    "Tile": (
        add(node("Tile", f"{KEPT} much", "c"), *to_zero("c"), much=[1, 1, 999, 999], zero=0.0),
        "the operator Tile",
    ),
    "Range": (add(node("Range", "none much step", "c"), none=0, much=1 << 40, step=1), "the operator Range"),
    "Pad": (
        add(node("Pad", f"{KEPT} much", "c"), *to_zero("c"), much=[0] * 7 + [1 << 40], zero=0.0),
        "Pad makes",
    ),
    "Resize": (add(helper.make_node("Resize", [KEPT, "", "scales"], ["c"]), scales=[1.0, 1.0, 9e5, 9e5]), "Resize"),
    "Concat of itself": (
        add(*(node("Concat", f"{a} {a}", b, axis=2) for a, b in DOUBLES), *to_zero("d40"), zero=0.0),
        "Concat makes",
    ),
    "outer sums": (outer, "numbers"),
    "a Loop of 2^31 turns": (loop(1 << 31), "the operator Loop, which no dwt has"),
    "5,000 nodes in a chain": (add(*chain(5000)), "more than 4,096 nodes"),
    "400 nodes in a chain": (add(*chain(400)), "129 of them without a product"),
    "3,900 nodes side by side": (
        add(*(node("Neg", KEPT, f"n{i}") for i in range(3900)), node("Neg", KEPT, "x_cond")),
        "",
    ),
    "nodes in a circle": (cycle, "which nothing before it makes"),
    "two of a name": (twice, "two tensors of the name 'x_cond'"),
    "two constants of a name": (two_constants, "two tensors of the name"),
    "sparse constant": (sparse, "the field 15 of a graph"),
    "a million fields": (fields, "fields"),
    "a million typed numbers": (typed, "more than 524,288 fields"),
    "a constant of no bytes": (short, "whose bytes are not so many"),
    "an output of another name of size": (declared, "its outputs are"),
    "an output of another shape": (
        add(node("Concat", f"{KEPT} {KEPT}", "x_cond", axis=3)),
        "x_cond is of another shape or type",
    ),
    "an output of another type": (another_type, "x_cond is of another shape or type"),
    "an unknown attribute": (add(node("Neg", KEPT, "x_cond", surprise=1)), "the attribute 'surprise'"),
}
"""Edits of dwt's graph, and a part of what the refusal says; nothing where it may be opened."""


def open_all(folder: Path, backend: str) -> None:
    """Open every package in ``folder``; print a JSON line for each, with the MiB that this process took at most so far
    (not getrusage's, which begins with those of the process that started it)."""
    from time import perf_counter

    from runtime import Enhancer
    from runtime.errors import DiffLLError

    for package in sorted(folder.iterdir()):
        started, said = perf_counter(), ""
        try:
            Enhancer.open(package, backend=backend).close()
        except DiffLLError as error:
            said = str(error)
        peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) >> 10
        print(json.dumps([package.name, perf_counter() - started, said, peak]), flush=True)


if __name__ == "__main__":
    open_all(Path(sys.argv[1]), sys.argv[2])
