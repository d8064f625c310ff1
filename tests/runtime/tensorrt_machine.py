"""A machine for the TensorRT backend's tests: a GPU that is none, both libraries, and engines for it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from fake_gpu import FakeGpu
from fake_tensorrt import PLAN, FakeTensorRT

import runtime.backends.tensorrt
from export.builders.profiles import Size, profile, size_range
from runtime.engines.cache import EngineCache, EngineKey
from runtime.engines.fit import GpuScope, environment
from runtime.machine.gpu import Gpu
from runtime.package.reading import Package

GPU = Gpu("NVIDIA Fake 1", "8.9", False, "12.8")
HERE = GpuScope("device", GPU.name, (GPU.compute_capability,))
OURS = ("cuda", "backend", "engines", "job", "library", "runtime_cache")


def forget_modules() -> None:
    for name in OURS:
        sys.modules.pop(f"runtime.backends.tensorrt.{name}", None)
        vars(runtime.backends.tensorrt).pop(name, None)


class Machine:
    """A GPU, both libraries, and the cuda-bindings for them."""

    def __init__(self) -> None:
        self.gpu = FakeGpu()
        self.trt, self.rtx = FakeTensorRT(self.gpu), FakeTensorRT(self.gpu, rtx=True)


def build_engines(
    path: Path,
    *,
    target: str = "tensorrt",
    sizes: tuple[Size, ...] = (),
    max_size: Size | None = (128, 128),
    batch: int = 1,
    library: str = "99.1",
    gpu: GpuScope = HERE,
    flags: dict | None = None,
) -> None:
    package = Package.open(path)
    span = size_range(sizes, max_size, package.manifest.pad_multiple)
    for stage in package.manifest.stages:
        key = EngineKey(
            stage.name,
            package.manifest.files[stage.file][0],
            target,
            environment(target, library) | {"gpu": asdict(gpu)},
            profile(stage, span, batch),
            flags or {},
        )
        plan = PLAN + package.read(stage.file)
        EngineCache(path).store(key, {"engine.plan": plan}, {"command": f"python -m export.engine {path} --target x"})


def photo(height: int = 47, width: int = 65, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)
