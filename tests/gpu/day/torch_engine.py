"""Our TensorRT backend on a real GPU without TensorRT: its calls are taken by a stand-in whose stages are PyTorch's
kernels, queued on the streams and addresses that the backend gives. So the modules of runtime/backends/tensorrt meet
real streams, events, captures, graphs, pinned and mapped memory: torch_engine.py PACKAGE OUT. A test runs ``check``
with the tests' fake GPU in the place of CUDA.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

VERSION = "99.1"


class Context:
    def __init__(self, home, graph):
        self.home, self.graph, self.shapes, self.addresses = home, graph, {}, {}
        self.specs = {spec.name: spec for spec in (*graph.inputs, *graph.outputs)}

    def set_input_shape(self, name, shape):
        self.shapes[name] = tuple(shape)
        return True

    def update_device_memory_size_for_shapes(self):
        return 4 * max(int(np.prod(shape)) for shape in self.shapes.values())

    def set_device_memory(self, address, size):
        self.scratch = address

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return name in self.specs

    def output_shape(self, spec):  # from the image's sides, told by any input
        told = [one for one in self.graph.inputs if one.name in self.shapes]
        sizes = next(found for one in told if len(found := one.photo_size(self.shapes[one.name])) == 3)
        return tuple(spec.resolve(**sizes))

    def execute_async_v3(self, stream):
        shapes = {s.name: self.shapes.get(s.name) or tuple(s.resolve(1, 1, 1)) for s in self.graph.inputs}
        inputs = [self.home.view(self.addresses[s.name], shapes[s.name], s.dtype) for s in self.graph.inputs]
        outputs = [self.home.view(self.addresses[s.name], self.output_shape(s), s.dtype) for s in self.graph.outputs]

        def work():
            found = self.graph.module(*inputs)
            for to, made in zip(outputs, found if isinstance(found, tuple) else (found,), strict=True):
                to.copy_(made)

        self.home.queue(work, stream, self.scratch)
        return True


class Home:
    """The module ``tensorrt``. gpu: a FakeGpu of the tests, to try this file on a CPU."""

    def __init__(self, graphs, gpu=None):
        self.gpu, self.graphs, self.views, self.device = gpu, graphs, {}, "cpu" if gpu else "cuda"
        for graph in graphs.values():
            graph.module.to(self.device).eval()
        severity = IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"], start=0)
        self.__version__ = VERSION
        self.ILogger = type("ILogger", (), {"Severity": severity})
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user")
        self.Runtime = lambda log: SimpleNamespace(deserialize_cuda_engine=self.engine)

    def engine(self, plan):
        graph = self.graphs[plan.decode()]
        kinds = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int32": "INT32"}
        specs = [*graph.inputs, *graph.outputs]
        return SimpleNamespace(
            num_io_tensors=len(specs),
            get_tensor_name=lambda index: specs[index].name,
            get_tensor_dtype=lambda name: SimpleNamespace(name=kinds[{s.name: s.dtype for s in specs}[name]]),
            get_tensor_location=lambda name: SimpleNamespace(name="DEVICE"),
            create_execution_context=lambda strategy: Context(self, graph),
        )

    def view(self, address, shape, dtype):
        if self.gpu:
            return torch.from_numpy(self.gpu.array(address, dtype, shape))
        key = address, shape, dtype  # made in the run before the capture, and found again inside of it
        if key not in self.views:
            kind = {"float32": "<f4", "float16": "<f2", "bfloat16": "<i2", "int32": "<i4"}[dtype]
            lent = {"shape": shape, "typestr": kind, "data": (address, False), "version": 3}
            made = torch.as_tensor(SimpleNamespace(__cuda_array_interface__=lent), device="cuda")
            self.views[key] = made.view(torch.bfloat16) if dtype == "bfloat16" else made
        return self.views[key]

    def queue(self, work, stream, scratch):
        def run():
            with torch.inference_mode():
                work()

        if self.gpu:
            self.gpu.streams[stream].add(run, scratch)
            return
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            run()


def install(package, gpu=None, checkpoint=None):
    """The stand-in takes the place of ``tensorrt``, and the package, of ``checkpoint`` or else of the bundled one, gets
    engines for it."""
    from export.checkpoint import load_checkpoint
    from export.files import bundled_checkpoint
    from export.tracing.graphs import stage_graphs
    from runtime.engines.cache import EngineCache, EngineKey
    from runtime.engines.fit import GpuScope, environment
    from runtime.machine.gpu import current_gpu
    from runtime.package.reading import Package

    opened = Package.open(package)
    model = load_checkpoint(checkpoint or bundled_checkpoint()).model()
    home = Home({graph.name: graph for graph in stage_graphs(model, opened.manifest.precision)}, gpu)
    sys.modules["tensorrt"] = home
    here = current_gpu()
    scope = GpuScope("device", here.name, (here.compute_capability,))
    for stage in opened.manifest.stages:
        profile = {
            s.name: [list(s.resolve(1, 32, 32)), list(s.resolve(1, 384, 640)), list(s.resolve(4, 4096, 4096))]
            for s in stage.inputs
            if any(isinstance(side, str) for side in s.shape)
        }
        key = EngineKey(
            stage.name,
            opened.manifest.files[stage.file][0],
            "tensorrt",
            environment("tensorrt", VERSION) | {"gpu": asdict(scope)},
            profile,
            {},
        )
        EngineCache(package).store(key, {"engine.plan": stage.name.encode()}, {"command": "none"})
    return home


def check(package, out, sizes=((360, 640), (1080, 1920)), levels=1, gpu=None, checkpoint=None):
    """Run the backend on photos and a stream of each (height, width); write what was found to ``out`` and return it."""
    from runtime import Enhancer

    home, found = install(package, gpu, checkpoint), {}
    turns = 1 if gpu else 10  # for times, which the fake has none of

    def frame(seed, size):
        return np.random.default_rng(seed).integers(0, 60, (*size, 3), dtype=np.uint8)

    def say(name, value):
        found[name] = value
        print("torch-engine", name, value, flush=True)

    if not gpu:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    enhancer = Enhancer.open(package, backend="tensorrt")
    reference = Enhancer.open(package)
    for size in sizes:
        first = enhancer(frame(1, size), steps=4)
        again = [enhancer(frame(1, size), steps=4) for _ in range(3)]
        say(f"{size} replay equals first run", all(np.array_equal(one, first) for one in again))
        other = enhancer(frame(2, size), steps=4)
        say(f"{size} other photo differs", not np.array_equal(other, first))
        if size[0] <= 400:
            worst = int(np.abs(first.astype(int) - reference(frame(1, size), steps=4)).max())
            say(f"{size} grey levels from onnxruntime CPU", worst)
            found["ok"] = worst <= levels
        times = []
        for _ in range(turns):
            started = time.perf_counter()
            enhancer(frame(1, size), steps=10)
            times.append((time.perf_counter() - started) * 1e3)
        say(
            f"{size} 10 steps, ms",
            [round(float(np.median(times)), 2), {k: round(v, 2) for k, v in enhancer.timings.items()}],
        )
    frames = [frame(seed, sizes[0]) for seed in range(3 if gpu else 8)]
    expected = [enhancer(one, steps=4) for one in frames]
    say(
        "stream equals calls",
        all(np.array_equal(a, b) for a, b in zip(expected, enhancer.stream(frames, steps=4), strict=True)),
    )
    many = frames * (1 if gpu else 4)
    started = time.perf_counter()
    for _ in enhancer.stream(many, steps=10):
        pass
    say("stream, ms a frame", round((time.perf_counter() - started) * 1e3 / len(many), 2))
    if not gpu:
        free = []
        for index in range(40):
            enhancer(frame(index, [(200, 320), (240, 320), (200, 600)][index % 3]), steps=1)
            if index % 10 == 9:
                home.views.clear()
                torch.cuda.empty_cache()
                free.append(torch.cuda.mem_get_info()[0])
        say("free bytes after each 10 photos", free)
        import runtime.backends.tensorrt.cuda as ours

        ours.shares_memory = lambda: True  # as on a Jetson: mapped host memory, here over the bus
        with Enhancer.open(package, backend="tensorrt") as mapped:
            say(
                "mapped memory equals",
                bool(np.array_equal(mapped(frame(1, sizes[0]), steps=4), enhancer(frame(1, sizes[0]), steps=4))),
            )
    enhancer.close()
    reference.close()
    del enhancer
    gc.collect()
    say("closed", True)
    Path(out).write_text(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    check(Path(sys.argv[1]), sys.argv[2])
