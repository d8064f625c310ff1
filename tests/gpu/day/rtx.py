"""What TensorRT-RTX answers on a GPU that its documents do not list, and our backend on it if it runs there.
rtx.py PACKAGE OUT
"""

import json
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import tensorrt_rtx as trt

from runtime.doctor.probes import CONV_EXPECTED, CONV_GRAPH, run_plan

found = {"version": trt.__version__, "lists": [n for n in dir(trt.ComputeCapability) if n.startswith("SM")]}


class Log(trt.ILogger):
    def __init__(self):
        super().__init__()
        self.lines = []

    def log(self, severity, message):
        if severity <= trt.ILogger.Severity.WARNING:
            self.lines.append(f"{severity.name}: {message}"[:300])


def tiny(name):
    log = Log()
    builder = trt.Builder(log)
    network, config = builder.create_network(0), builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if name:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)
    assert trt.OnnxParser(network, log).parse(CONV_GRAPH)
    plan = builder.build_serialized_network(network, config)
    answer = {"built": plan is not None}
    if plan is not None:
        answer["validity"] = str(trt.Runtime(log).get_engine_validity(plan))
        try:
            answer["worst"] = float(np.abs(run_plan(trt, plan) - CONV_EXPECTED).max())
        except Exception as error:
            answer["run"] = str(error)[:300]
    return answer | {"log": log.lines[-6:]}


def whole(package):
    import export.builders.tensorrt as builder
    from export.engine import main
    from runtime import Enhancer

    listed = builder.rtx_capabilities
    builder.rtx_capabilities = lambda library: [*listed(library), "9.0"]
    main([str(package), "--target", "tensorrt-rtx", "--size", "600x400", "--max-size", "1920x1080"])
    answer = {}
    with Enhancer.open(package, backend="tensorrt-rtx") as ours, Enhancer.open(package) as reference:
        for height, width in ((400, 600), (1080, 1920)):
            photo = np.random.default_rng(1).integers(0, 60, (height, width, 3), dtype=np.uint8)
            started = time.perf_counter()
            first = ours(photo, steps=10)
            first_s = time.perf_counter() - started
            times = []
            for _ in range(10):
                started = time.perf_counter()
                again = ours(photo, steps=10)
                times.append((time.perf_counter() - started) * 1e3)
            answer[f"{width}x{height}"] = {
                "first_s": round(first_s, 2),
                "ms": round(float(np.median(times)), 2),
                "why": ours.backend.why,
                "replay equals first": bool(np.array_equal(first, again)),
                "timings": ours.timings,
                "levels from the CPU": int(np.abs(first.astype(int) - reference(photo, steps=10)).max())
                if width < 1000
                else None,
            }
    return answer


def tried(name, work):
    try:
        found[name] = work()
    except BaseException as error:
        traceback.print_exc(limit=4)
        found[name] = {"failed": f"{type(error).__name__}: {error}"[:600]}
    print(name, json.dumps(found[name])[:1500], flush=True)
    Path(sys.argv[2]).write_text(json.dumps(found, indent=1, default=str))


for capability in ("", "CURRENT", "SM80"):
    tried(f"tiny {capability or 'all listed'}", lambda name=capability: tiny(name))
if any("worst" in found[name] for name in found if name.startswith("tiny")):
    tried("package", lambda: whole(Path(sys.argv[1])))
