"""How fast onnxruntime's CUDA provider runs the stages in several forms, with several options; a line of JSON each.
forms.py PACKAGE OUT SECONDS WxH FORM... [WxH FORM...]

A form is words joined by +. ``package``: the denoiser as it is in the package; ``plain``: without the CPU's forms;
``cuda``: as an engine of the target cuda; ``group``: that with onnxruntime's own GroupNorm, which wants an even number
of channels in a group. ``stage:option=value`` is a provider's option for a stage, or for ``all``. ``profile``: the
kernels by name.
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
from export.passes.cuda_forms import bare_norms, cuda_forms
from export.passes.edit import Rewriting, attributes_of
from export.passes.folded_biases import folded_biases
from export.passes.fused_attention import fused_attention
from runtime import Enhancer
from runtime.backends.onnxruntime import session
from runtime.backends.onnxruntime.capture import FOR_STAGE
from runtime.package.reading import Package

GRAPH = Package.graph
DOMAIN = "com.microsoft"


def group_norms(content):
    """GroupNormalization, and the SiLU that follows it, as onnxruntime's GroupNorm, which takes channels last."""
    graph = Rewriting(content)
    nodes, readers = list(graph.model.graph.node), {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    skipped, renamed = set(), {}
    for node in nodes:
        if node.output[0] in skipped:
            continue
        if node.op_type != "GroupNormalization":
            node.input[:] = [renamed.get(name, name) for name in node.input]
            graph.nodes.append(node)
            continue
        after, result, silu = readers[node.output[0]], node.output[0], 0
        if sorted(one.op_type for one in after) == ["Mul", "Sigmoid"]:
            silu = 1
            skipped |= {one.output[0] for one in after}
            renamed[next(one.output[0] for one in after if one.op_type == "Mul")] = result
        source, names = renamed.get(node.input[0], node.input[0]), []
        for name in node.input[1:]:
            names.append(f"{name}_float")
            graph.added[names[-1]] = graph.constants[name].astype(np.float32)
        told = attributes_of(node)
        graph.add("Transpose", [source], f"{result}_last", perm=[0, 2, 3, 1])
        attributes = {"groups": told["num_groups"], "epsilon": told["epsilon"], "activation": silu, "domain": DOMAIN}
        graph.nodes.append(
            helper.make_node("GroupNorm", [f"{result}_last", *names], [f"{result}_normal"], **attributes)
        )
        graph.add("Transpose", [f"{result}_normal"], result, perm=[0, 3, 1, 2])
    if all(one.domain != DOMAIN for one in graph.model.opset_import):
        graph.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    check, onnx.checker.check_model = onnx.checker.check_model, lambda *args, **more: None  # it knows no such domain
    try:
        return graph.content()
    finally:
        onnx.checker.check_model = check


FORMS = {
    "package": lambda content: content,
    "plain": restore,
    "cuda": cuda_forms,
    "group": lambda content: group_norms(fused_attention(folded_biases(bare_norms(restore(content))))),
}


def measure(package, words, size, photos=8, steps=10):
    (form,) = [FORMS[word] for word in words if word in FORMS]
    Package.graph = lambda self, stage: form(GRAPH(self, stage)) if stage == "denoiser" else GRAPH(self, stage)
    session.cuda_engine = lambda package: (None, "")
    FOR_STAGE.clear()
    for word in words:
        stage, _, option = word.partition(":")
        name, _, value = option.partition("=")
        for one in ("dwt", "hfrm0", "hfrm1", "denoiser", "idwt") if stage == "all" else (stage,) if value else ():
            FOR_STAGE[one] = FOR_STAGE.get(one, {}) | {name: value}
    width, height = size
    photo = np.random.default_rng(1).integers(0, 60, (height, width, 3), dtype=np.uint8)
    found = {"package": Path(package).name, "form": "+".join(words), "size": f"{width}x{height}"}
    started = time.perf_counter()
    with Enhancer.open(package, providers=["CUDA"]) as enhancer:
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
    package, out, until = sys.argv[1], sys.argv[2], time.monotonic() + float(sys.argv[3])
    sizes = {}
    for word in sys.argv[4:]:
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
                    found = {"form": "+".join(words), "size": f"{size[0]}x{size[1]}"}
                    found["failed"] = " ".join(str(error).split())[:500]
                    traceback.print_exc(limit=3)
                print(json.dumps({**found, "kernels": None}), flush=True)
                file.write(json.dumps(found) + "\n")
                file.flush()


if __name__ == "__main__":
    main()
