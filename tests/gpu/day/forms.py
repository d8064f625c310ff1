"""How fast onnxruntime's CUDA provider runs the denoiser in several forms, with several options; a line of JSON each.
forms.py PACKAGE OUT SECONDS WxH...

A form is words: ``norm32`` and ``norm16`` write GroupNormalization as an InstanceNormalization, in float32 or in the
network's own type; ``layer16`` as a LayerNormalization, which computes its statistics in float32; ``flash`` makes each
attention onnxruntime's MultiHeadAttention, which never writes its scores. Without ``cpu`` the CPU's forms are undone.
"""

import json
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from export.passes.cpu_forms import restore
from export.passes.edit import Rewriting, attributes_of, part_maker
from export.passes.group_norm import rewrite_group_norm
from runtime import Enhancer
from runtime.backends.onnxruntime.capture import CAPTURES
from runtime.package.reading import Package

GRAPH, CUDA = Package.graph, "CUDAExecutionProvider"
OPTIONS = {
    "no-tf32": {"use_tf32": "0"},
    "heuristic": {"cudnn_conv_algo_search": "HEURISTIC"},
    "as-asked": {"arena_extend_strategy": "kSameAsRequested"},
    "nhwc": {"prefer_nhwc": "1"},
    "bias": {"fuse_conv_bias": "1"},
}


def makers(graph):
    return {name: node for node in graph.nodes for name in node.output}


def bare_norms(content):
    """Every GroupNormalization without the casts to and from float32 around it."""
    graph = Rewriting(content)
    made = {name: node for node in graph.model.graph.node for name in node.output}
    readers = {}
    for node in graph.model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    gone = {}
    for node in graph.model.graph.node:
        before = made.get(node.input[0]) if node.op_type == "GroupNormalization" else None
        after = readers.get(node.output[0], [])
        if before is None or before.op_type != "Cast" or any(one.op_type != "Cast" for one in after):
            continue
        gone[before.output[0]] = before.input[0]
        gone |= {one.output[0]: node.output[0] for one in after}
    for node in graph.model.graph.node:
        if node.op_type == "Cast" and node.output[0] in gone:
            continue
        for index, name in enumerate(node.input):
            node.input[index] = gone.get(name, name)
        graph.nodes.append(node)
    kept = {name for node in graph.nodes for name in node.output} | {value.name for value in graph.model.graph.input}
    assert all(name in kept or name in graph.constants or not name for node in graph.nodes for name in node.input)
    for name, value in graph.constants.items():
        if "norm" in name and value.dtype == np.float32 and len(gone):
            graph.added[name] = value.astype(np.float16)
    return graph.content()


def layer_norms(content):
    graph = Rewriting(content)
    for node in graph.model.graph.node:
        if node.op_type != "GroupNormalization":
            graph.nodes.append(node)
            continue
        source, result, attributes = node.input[0], node.output[0], attributes_of(node)
        scale, bias = (graph.constants[name].reshape(1, -1, 1, 1) for name in node.input[1:])
        graph.added |= {f"{result}_scale": scale, f"{result}_bias": bias, "unit": np.ones(1, scale.dtype)}
        graph.added["in_groups"] = np.array([0, attributes["num_groups"], -1])
        make = part_maker(graph.nodes, result, "_", "shifted")
        shape = make("shape", "Shape", source)
        grouped = make("grouped", "Reshape", source, "in_groups")
        ones = make("ones", "Expand", "unit", make("rest", "Shape", grouped, start=2, end=3))
        normal = make("normal", "LayerNormalization", grouped, ones, axis=-1, epsilon=attributes["epsilon"])
        make(
            "shifted",
            "Add",
            make("scaled", "Mul", make("back", "Reshape", normal, shape), f"{result}_scale"),
            f"{result}_bias",
        )
    return graph.content()


def flash(content):
    """MatMul, Softmax, MatMul, Transpose, (B, 1, positions, C) -> (B, 1, C, positions), as MultiHeadAttention."""
    graph = Rewriting(content)
    nodes = list(graph.model.graph.node)
    made = {name: node for node in nodes for name in node.output}
    inner, ends = set(), {}
    for node in nodes:
        chain, name = [node], node.input[0] if node.input else ""
        while len(chain) < 4 and name in made:
            chain.insert(0, made[name])
            name = chain[0].input[0]
        if [one.op_type for one in chain] == ["MatMul", "Softmax", "MatMul", "Transpose"]:
            ends[node.output[0]] = chain
            inner |= {one.output[0] for one in chain[:-1]}
    for node in nodes:
        if node.output[0] in inner:
            continue
        if node.output[0] not in ends:
            graph.nodes.append(node)
            continue
        scores, _, weighted, last = ends[node.output[0]]
        make = part_maker(graph.nodes, last.output[0], "/flash/", "end")
        graph.added["one_axis"] = np.array([1])
        query = make("query", "Squeeze", scores.input[0], "one_axis")
        key = make("key", "Transpose", make("keys", "Squeeze", scores.input[1], "one_axis"), perm=[0, 2, 1])
        value = make("value", "Squeeze", weighted.input[1], "one_axis")
        out = f"{last.output[0]}/flash/attention"
        graph.nodes.append(
            helper.make_node(
                "MultiHeadAttention", [query, key, value], [out], num_heads=1, scale=1.0, domain="com.microsoft"
            )
        )
        make("end", "Unsqueeze", make("turned", "Transpose", out, perm=[0, 2, 1]), "one_axis")
    if all(one.domain != "com.microsoft" for one in graph.model.opset_import):
        graph.model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    check, onnx.checker.check_model = onnx.checker.check_model, lambda *args, **kwargs: None
    try:
        return graph.content()
    finally:
        onnx.checker.check_model = check


def form(words, content):
    if "cpu" in words:
        return content
    content = restore(content)
    if "norm16" in words or "layer16" in words:
        content = bare_norms(content)
    if "layer16" in words:
        content = layer_norms(content)
    elif "norm16" in words or "norm32" in words:
        content = rewrite_group_norm(content)
    return flash(content) if "flash" in words else content


def measure(package, words, size, provider="CUDA", photos=8, steps=10):
    Package.graph = lambda self, stage: form(words, GRAPH(self, stage)) if stage == "denoiser" else GRAPH(self, stage)
    CAPTURES[CUDA] = {"enable_cuda_graph": "1"}
    for word in words:
        CAPTURES[CUDA] |= OPTIONS.get(word, {})
    width, height = size
    photo = np.random.default_rng(1).integers(0, 60, (height, width, 3), dtype=np.uint8)
    found = {"form": " ".join(words), "size": f"{width}x{height}"}
    started = time.perf_counter()
    with Enhancer.open(package, providers=[provider]) as enhancer:
        picture = enhancer(photo, steps=steps)
        found["opening_and_first_s"] = round(time.perf_counter() - started, 2)
        times = []
        for _ in range(photos):
            started = time.perf_counter()
            again = enhancer(photo, steps=steps)
            times.append((time.perf_counter() - started) * 1e3)
        found |= {
            "ms": round(float(np.median(times)), 2),
            "why": enhancer.backend.why[:300],
            "plan": enhancer.why[:200],
            "same again": bool(np.array_equal(again, picture)),
            "stages": {name: round(ms, 2) for name, ms in enhancer.timings.items()},
        }
        if "profile" in words:
            found["kernels"] = kernels(lambda: enhancer(photo, steps=steps))
    return found, picture


def kernels(work):
    """What a photo's kernels take, by name, as PyTorch's profiler sees them, also in CUDA graphs."""
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
    rows = [one for one in profile.key_averages() if one.device_time_total]
    total = sum(one.device_time_total for one in rows)
    top = sorted(rows, key=lambda one: -one.device_time_total)[:24]
    shown = [[one.key[:110], one.count, round(one.device_time_total / 1e3, 3)] for one in top]
    return {"ms": round(total / 1e3, 2), "count": sum(one.count for one in rows), "top": shown}


def main():
    package, out, until = Path(sys.argv[1]), sys.argv[2], time.monotonic() + float(sys.argv[3])
    sizes = {}
    for word in sys.argv[4:]:  # WxH, then the forms to run at it, such as norm16+flash
        if word[0].isdigit():
            sizes[size := tuple(map(int, word.split("x")))] = []
        else:
            sizes[size].append(word.split("+"))
    with open(out, "a") as file:
        for size, forms in sizes.items():
            first = None
            for words in forms:
                if time.monotonic() > until:
                    print("no time left for", words, size)
                    continue
                try:
                    found, picture = measure(package, words, size)
                    first = picture if first is None else first
                    found["grey levels from the first"] = int(np.abs(picture.astype(int) - first).max())
                except Exception as error:
                    found = {"form": " ".join(words), "size": f"{size[0]}x{size[1]}"}
                    found["failed"] = " ".join(str(error).split())[:500]
                    traceback.print_exc(limit=3)
                print(json.dumps({**found, "kernels": None}), flush=True)
                file.write(json.dumps(found) + "\n")
                file.flush()


if __name__ == "__main__":
    main()
