"""How fast onnxruntime's CUDA provider runs the denoiser in several forms, with several options; a line of JSON each.
forms.py PACKAGE OUT WxH...
"""

import json
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from export.passes.cpu_forms import restore
from export.passes.group_norm import rewrite_group_norm
from runtime import Enhancer
from runtime.backends.onnxruntime.capture import CAPTURES
from runtime.package.reading import Package

GRAPH, CUDA = Package.graph, "CUDAExecutionProvider"


def whole_scores(content):
    """Attention with all scores at once at every size: the If on the number of places is always the plain form."""
    model = onnx.load_from_string(content)
    for tensor in model.graph.initializer:
        if tensor.name in ("attention_queries", "attention_queries_less_1"):
            tensor.CopyFrom(numpy_helper.from_array(np.array([2**31], np.int64), tensor.name))
    return model.SerializeToString()


FORMS = {
    "as it is": lambda one: one,
    "whole scores": whole_scores,
    "plain": restore,
    "instance norm": lambda one: rewrite_group_norm(restore(one)),
}
OPTIONS = {
    "": {},
    "no tf32": {"use_tf32": "0"},
    "heuristic": {"cudnn_conv_algo_search": "HEURISTIC"},
    "same as requested": {"arena_extend_strategy": "kSameAsRequested"},
    "nhwc": {"prefer_nhwc": "1"},
}


def measure(package, form, options, size, provider="CUDA", photos=8):
    Package.graph = lambda self, stage: (FORMS[form] if stage == "denoiser" else FORMS["as it is"])(GRAPH(self, stage))
    CAPTURES[CUDA] = {"enable_cuda_graph": "1", **OPTIONS[options]}
    width, height = size
    photo = np.random.default_rng(1).integers(0, 60, (height, width, 3), dtype=np.uint8)
    found = {"form": form, "options": options, "size": f"{width}x{height}"}
    started = time.perf_counter()
    with Enhancer.open(package, providers=[provider]) as enhancer:
        picture = enhancer(photo, steps=10)
        found["opening_and_first_s"] = round(time.perf_counter() - started, 2)
        times = []
        for _ in range(photos):
            started = time.perf_counter()
            again = enhancer(photo, steps=10)
            times.append((time.perf_counter() - started) * 1e3)
        found |= {
            "ms": round(float(np.median(times)), 2),
            "why": enhancer.backend.why[:300],
            "plan": enhancer.why[:200],
            "same again": bool(np.array_equal(again, picture)),
            "stages": {name: round(ms, 2) for name, ms in enhancer.timings.items()},
        }
    return found, picture


def main():
    package, out, sizes = Path(sys.argv[1]), sys.argv[2], [tuple(map(int, one.split("x"))) for one in sys.argv[3:]]
    pairs = [(form, "") for form in FORMS] + [("whole scores", name) for name in OPTIONS if name]
    with open(out, "a") as file:
        for size in sizes:
            first = None
            for form, options in pairs:
                try:
                    found, picture = measure(package, form, options, size)
                    first = picture if first is None else first
                    found["grey levels from the first"] = int(np.abs(picture.astype(int) - first).max())
                except Exception as error:
                    found = {
                        "form": form,
                        "options": options,
                        "size": size,
                        "failed": " ".join(str(error).split())[:500],
                    }
                    traceback.print_exc(limit=3)
                print(json.dumps(found), flush=True)
                file.write(json.dumps(found) + "\n")
                file.flush()


if __name__ == "__main__":
    main()
