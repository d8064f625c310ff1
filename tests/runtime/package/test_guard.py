"""check_graph: our own graphs pass; external data, foreign operators and damaged bytes are PackageError."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, helper, numpy_helper

from runtime.errors import PackageError
from runtime.package.guard import check_graph

STAGES = ("dwt", "hfrm0", "hfrm1", "denoiser", "idwt")
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])


def inside(name: str = "w") -> TensorProto:
    return numpy_helper.from_array(np.arange(4, dtype=np.float32), name)


def outside(name: str = "w", location: str = "weights.bin") -> TensorProto:
    """A tensor whose values are in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def sparse(values: TensorProto, indices: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[8])


def model(*nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = (), domain: str = "", **parts: object) -> bytes:
    """A whole model: x -> ``nodes`` -> y, with ``tensors`` as initializers."""
    graph = helper.make_graph(list(nodes) or [helper.make_node("Add", ["x", "w"], ["y"])], "g", [X], [Y], list(tensors))
    opsets = [helper.make_opsetid("", 21), *([helper.make_opsetid(domain, 1)] if domain else [])]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    for name, value in parts.items():
        getattr(content.graph if name == "sparse_initializer" else content, name).extend(value)
    return content.SerializeToString()


def branches(*nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = (), depth: int = 1) -> onnx.NodeProto:
    """An If whose else branch (an If again, ``depth`` deep) holds ``nodes`` and ``tensors``."""
    plain = helper.make_graph([helper.make_node("Identity", ["x"], ["a"])], "then", [], [Y])
    inner = helper.make_graph(list(nodes), "else", [], [Y], list(tensors))
    node = helper.make_node("If", ["c"], ["y"], then_branch=plain, else_branch=inner)
    return node if depth == 1 else branches(node, depth=depth - 1)


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["w"], value=tensor)


def with_attribute(**parts: object) -> onnx.NodeProto:
    """A node with one attribute, its fields set without the helper's opinion of what goes together."""
    node = helper.make_node("Identity", ["x"], ["y"])
    attribute = node.attribute.add(name="a")
    for name, value in parts.items():
        field = getattr(attribute, name)
        field.extend(value) if isinstance(value, list) else field.CopyFrom(value)
    return node


def function(*nodes: onnx.NodeProto, domain: str = "", imports: str = "") -> onnx.FunctionProto:
    return helper.make_function(domain, "f", ["x"], ["y"], list(nodes), [helper.make_opsetid(imports, 21)])


def default_attribute(tensor: TensorProto) -> onnx.FunctionProto:
    content = function(helper.make_node("Identity", ["x"], ["y"]))
    content.attribute_proto.add(name="a", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    return content


def training(tensor: TensorProto, part: str) -> onnx.TrainingInfoProto:
    content = onnx.TrainingInfoProto()
    getattr(content, part).initializer.append(tensor)
    return content


# Where a tensor may be: each makes a model around one tensor.
PLACES: dict[str, Callable[[TensorProto], bytes]] = {
    "initializer": lambda t: model(tensors=(inside("v"), t)),
    "constant": lambda t: model(constant(t)),
    "initializer of a branch": lambda t: model(branches(constant(inside()), tensors=(t,))),
    "constant of a branch": lambda t: model(branches(constant(t))),
    "constant four branches deep": lambda t: model(branches(constant(t), depth=4)),
    "sparse values": lambda t: model(tensors=(inside(),), sparse_initializer=[sparse(t, inside("i"))]),
    "sparse indices": lambda t: model(tensors=(inside(),), sparse_initializer=[sparse(inside("v"), t)]),
    "sparse attribute": lambda t: model(with_attribute(sparse_tensor=sparse(t, inside("i")))),
    "list of sparse attributes": lambda t: model(with_attribute(sparse_tensors=[sparse(inside("v"), t)])),
    "list of tensors": lambda t: model(with_attribute(tensors=[inside(), t])),
    "list of graphs": lambda t: model(with_attribute(graphs=[helper.make_graph([], "g", [], [], [t])])),
    "function": lambda t: model(tensors=(inside(),), functions=[function(constant(t))]),
    "branch in a function": lambda t: model(tensors=(inside(),), functions=[function(branches(constant(t)))]),
    "default attribute of a function": lambda t: model(tensors=(inside(),), functions=[default_attribute(t)]),
    "training, initialization": lambda t: model(tensors=(inside(),), training_info=[training(t, "initialization")]),
    "training, algorithm": lambda t: model(tensors=(inside(),), training_info=[training(t, "algorithm")]),
}


def foreign_node(domain: str) -> onnx.NodeProto:
    return helper.make_node("Custom", ["x"], ["y"], domain=domain)


# Where an operator domain may be named: each makes a model around one domain.
DOMAINS: dict[str, Callable[[str], bytes]] = {
    "opset_import": lambda d: model(tensors=(inside(),), domain=d),
    "node": lambda d: model(foreign_node(d)),
    "node of a branch": lambda d: model(branches(foreign_node(d))),
    "node four branches deep": lambda d: model(branches(foreign_node(d), depth=4)),
    "node of a function": lambda d: model(tensors=(inside(),), functions=[function(foreign_node(d))]),
    "function": lambda d: model(tensors=(inside(),), functions=[function(domain=d)]),
    "opset_import of a function": lambda d: model(tensors=(inside(),), functions=[function(imports=d)]),
}


def refuse(content: bytes, *words: str) -> None:
    with pytest.raises(PackageError) as caught:
        check_graph(content, "/p/dwt.onnx")
    message = str(caught.value)
    assert message.startswith("/p/dwt.onnx: ")
    assert "\n" not in message
    assert len(message) < 300
    assert "again" in message or "do not use" in message
    for word in words:
        assert word in message


# --- what passes


@pytest.mark.parametrize("stage", STAGES)
def test_our_graphs_pass(tiny_package: Path, stage: str) -> None:
    check_graph((tiny_package / f"{stage}.onnx").read_bytes(), stage)


@pytest.mark.parametrize("place", PLACES)
def test_weights_inside_pass(place: str) -> None:
    check_graph(PLACES[place](inside()), place)


@pytest.mark.parametrize("place", DOMAINS)
@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_standard_operators_pass(place: str, domain: str) -> None:
    check_graph(DOMAINS[place](domain), place)


def test_other_fields_pass() -> None:
    """Names, documentation and types are no operators and no weights, whatever they say."""
    content = onnx.load_from_string(model(tensors=(inside(),)))
    content.domain = content.producer_name = content.doc_string = "com.microsoft"
    content.graph.doc_string = "weights.bin"
    content.metadata_props.add(key="location", value="weights.bin")
    content.graph.value_info.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["n", None, 3]))
    content.graph.node[0].name = content.graph.node[0].op_type = "com.microsoft"
    content.graph.initializer[0].float_data.extend([1.5, -2.5])
    content.graph.initializer[0].int64_data.extend([-1, 1 << 62])
    content.graph.initializer[0].double_data.append(0.1)
    check_graph(content.SerializeToString(), "g")


# --- external data


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", ["whole", "no location", "location alone"])
def test_external_data_is_refused(place: str, how: str) -> None:
    tensor = outside()
    if how == "no location":
        tensor.ClearField("external_data")
    elif how == "location alone":
        tensor.ClearField("data_location")
    refuse(PLACES[place](tensor), "another file")


@pytest.mark.parametrize("location", ["/etc/passwd", "../x", "", "x" * 100_000])
def test_external_data_of_any_name_is_refused(location: str) -> None:
    refuse(model(tensors=(outside(location=location),)), "another file")


def varint(number: int, size: int = 1) -> bytes:
    out = bytearray()
    while number > 127 or size > 1:
        out.append(number & 127 | 128)
        number, size = number >> 7, size - 1
    return bytes([*out, number])


def message(field: int, content: bytes, *, high: int = 0, size: int = 1) -> bytes:
    """A protobuf field; ``high``: bits set above the 32 of its key; ``size``: at least so many bytes for the key."""
    return varint((field << 3 | 2) + (high << 32), size) + varint(len(content)) + content


@pytest.mark.parametrize("high", range(8))
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_keys_written_in_another_way(high: int, size: int) -> None:
    """protobuf in C++ drops the bits of a key above the 32nd: what hides there is external data to the engine."""
    hidden = message(13, message(1, b"location") + message(2, b"weights.bin"), high=high, size=size)
    tensor = b"\x08\x04\x10\x01" + message(8, b"w") + hidden
    refuse(b"\x08\x0a" + message(7, message(5, tensor)))
    domain = message(7, message(1, message(7, b"com.microsoft", high=high, size=size)))
    refuse(b"\x08\x0a" + domain)
    check_graph(b"\x08\x0a" + message(7, message(5, b"\x08\x04\x10\x01", size=size), size=size), "g")


def test_a_field_given_twice_is_read_twice() -> None:
    """protobuf merges them: a sound graph does not hide another one, before or after it."""
    good, bad = model(tensors=(inside(),)), model(tensors=(outside(),))
    refuse(good + bad, "another file")
    refuse(bad + good, "another file")
    node = helper.make_node("Relu", ["x"], ["y"]).SerializeToString()
    for domains in (message(7, b"custom") + message(7, b""), message(7, b"") + message(7, b"custom")):
        refuse(message(7, message(1, node + domains)), "custom")


# --- operator domains


@pytest.mark.parametrize("place", DOMAINS)
@pytest.mark.parametrize("domain", ["com.microsoft", "custom", "ai.onnx.ml", "ai.onnx\0", " ", "AI.ONNX", "x" * 9999])
def test_other_domains_are_refused(place: str, domain: str) -> None:
    refuse(DOMAINS[place](domain), "operator domain", domain.replace("\0", "\\x00")[:40])


def test_a_domain_that_is_no_text_is_refused() -> None:
    refuse(message(7, message(1, message(7, b"\xff\xfe\n\x1b["))), "operator domain", r"\xff\xfe\n\x1b")


# --- no graph at all


def test_no_graph() -> None:
    for content in (b"", b"\n", b"\x08\x0a", b"\x38\x01", message(8, b""), message(1, b"text"), b"\x0a\x00" * 99):
        refuse(content, "not an ONNX graph")


@pytest.mark.parametrize(
    "content",
    [b"\0", b"\0" * 4096, b"\xff" * 4096, b"\x80" * 4096, b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"ftrtxxxx", b"<html>",
     b"version https://git-lfs.github.com/spec/v1\n", b"\x0b\x0c", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
     b"\x3a" + b"\xff" * 9 + b"\x7f", b"\x3a\x05abc", b"\x3a\x80", b"\x3d\x00\x00", b"\x39\x00"],
    ids=lambda content: ascii(content)[2:14],
)  # fmt: skip
def test_garbage(content: bytes) -> None:
    refuse(content, "not an ONNX graph")


def test_onnxruntime_s_own_format_is_refused() -> None:
    """onnxruntime takes bytes with ORTM at the fourth for its own format, where nothing here is checked."""
    flat = b"\x18\0\0\0ORTM" + b"\0" * 100
    refuse(flat, "onnxruntime's own format")
    # A file that is both: an offset that reads as fields, then a field over the rest, then a sound graph.
    both = b"\x08\x01\x0a\x04ORTM" + message(1, b"\0" * 1000) + model(tensors=(inside(),))
    refuse(both, "onnxruntime's own format")


def test_deep_nesting_is_refused_and_not_followed() -> None:
    refuse(model(branches(constant(inside()), depth=20)), "nested too deeply")
    content = b""
    for _ in range(3000):  # node, attribute, graph, over and over
        content = message(1, message(5, message(6, content)))
    refuse(message(7, content), "nested too deeply")


def test_truncated() -> None:
    graph = model(branches(constant(inside())), tensors=(inside("v"),))
    end = len(message(8, b"\x0a\x00\x10\x15"))  # opset_import is last: without it, it is a graph of sorts
    for length in range(len(graph) - end):
        refuse(graph[:length], "not an ONNX graph")


# --- damaged bytes


def mutate(content: bytes, rng: random.Random) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 6))):
        place = rng.randrange(len(out) or 1)
        kind = rng.randrange(6)
        if not out:
            break
        if kind < 2:
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            out[place] = rng.randrange(256)
        elif kind == 3:
            del out[place : place + rng.randrange(1, 9)]
        elif kind == 4:
            out[place:place] = rng.randbytes(rng.randrange(1, 5))
        else:
            del out[max(1, place) :]
    return bytes(out or b"\0")


def passes(content: bytes) -> bool:
    try:
        check_graph(content, "g")
    except PackageError:
        return False
    return True


@pytest.mark.parametrize("stage", ["dwt", "idwt", "hfrm0"])
def test_damaged_graphs_give_package_errors_only(
    tiny_package: Path, time_limit: Callable[[int], AbstractContextManager[None]], stage: str
) -> None:
    content, rng = (tiny_package / f"{stage}.onnx").read_bytes(), random.Random(stage)
    with time_limit(60):
        outcomes = [passes(mutate(content, rng)) for _ in range(700)]
    assert {True, False} == set(outcomes)


def test_random_bytes_give_package_errors_only(time_limit: Callable[[int], AbstractContextManager[None]]) -> None:
    rng = random.Random(5)
    with time_limit(60):
        for _ in range(1000):
            passes(rng.randbytes(rng.randrange(200)))
            passes(b"\x3a" + varint(90) + rng.randbytes(90))  # as a graph


def test_a_megabyte_of_the_smallest_fields_takes_no_minute(
    time_limit: Callable[[int], AbstractContextManager[None]],
) -> None:
    with time_limit(30):
        refuse(b"\x08\x01" * (1 << 19), "not an ONNX graph")


def suspicious(content: Message) -> bool:
    """Whether protobuf's own parser sees external data or a foreign domain anywhere."""
    kind = content.DESCRIPTOR.name
    if kind == "TensorProto" and (content.data_location or content.external_data):
        return True
    if kind in ("NodeProto", "OperatorSetIdProto", "FunctionProto") and content.domain not in ("", "ai.onnx"):
        return True
    for field, value in content.ListFields():
        inner = value if hasattr(value, "__len__") else [value]  # repeated or not
        if field.message_type is not None and any(map(suspicious, inner)):
            return True
    return False


@pytest.mark.parametrize(
    "content",
    [
        *(make(outside("w", "f")) for make in PLACES.values()),
        *(make("com.microsoft") for make in DOMAINS.values()),
    ],
    ids=[*PLACES, *(f"domain, {name}" for name in DOMAINS)],
)
def test_what_protobuf_sees_is_seen_here(content: bytes) -> None:
    """Mutated, a bad graph may become a good one, but never one that only the engine finds bad."""
    assert suspicious(onnx.load_from_string(content))
    rng, seen = random.Random(11), 0
    for _ in range(250):
        changed = mutate(content, rng)
        try:
            bad = suspicious(onnx.load_from_string(changed))
        except (DecodeError, UnicodeDecodeError):
            bad = False
        seen += bad
        assert not (bad and passes(changed)), changed.hex()
    assert seen > 30
