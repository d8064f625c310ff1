"""Engines of this machine's own GPU: built, loaded, and run against onnxruntime on the CPU (`pytest -m gpu`)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.engines.cache import EngineCache
from runtime.machine.gpu import current_gpu
from runtime.package.reading import Package

ROOT = Path(__file__).parent.parent.parent
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(current_gpu() is None, reason="no NVIDIA GPU is visible here"),
]
LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
RUN = """
import sys
import numpy as np
from polygraphy.backend.common import BytesFromPath
from polygraphy.backend.trt import EngineFromBytes, TrtRunner
with np.load(sys.argv[2]) as arrays, TrtRunner(EngineFromBytes(BytesFromPath(sys.argv[1]))) as runner:
    outputs = runner.infer({name: arrays[name] for name in arrays.files})
    np.savez(sys.argv[3], **{name: np.asarray(array) for name, array in outputs.items()})
"""


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", LIBRARIES)
def test_every_stage_computes_what_onnxruntime_computes(tiny_package, half_package, tmp_path, target, precision):
    import shutil

    import onnxruntime as ort

    if importlib.util.find_spec(LIBRARIES[target]) is None:
        pytest.skip(f"{LIBRARIES[target]} is not installed")
    package = tmp_path / "package"
    shutil.copytree(tiny_package if precision == "fp32" else half_package(precision), package)
    command = [sys.executable, "-m", "export.engine", str(package), "--target", target, "--size", "64x48"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    if "does not support this machine's" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    manifest = Package.open(package).manifest
    engines = {engine.key["stage"]: engine for engine in EngineCache(package).entries()}
    generator = np.random.default_rng(0)
    for stage in manifest.stages:
        inputs = {}
        for spec in stage.inputs:
            values = generator.standard_normal(spec.resolve(1, 48, 64)).astype(spec.dtype)
            inputs[spec.name] = np.array([60], np.int32) if spec.name == "timestep" else values
        session = ort.InferenceSession(str(package / stage.file))
        expected = dict(zip((spec.name for spec in stage.outputs), session.run(None, inputs), strict=True))
        source, result = tmp_path / "in.npz", tmp_path / "out.npz"
        np.savez(source, **inputs)
        plan = engines[stage.name].path / "engine.plan"
        environment = os.environ | {"POLYGRAPHY_USE_TENSORRT_RTX": "1" if target == "tensorrt-rtx" else "0"}
        words = [sys.executable, "-c", RUN, str(plan), str(source), str(result)]
        subprocess.run(words, cwd=ROOT, env=environment, check=True, timeout=300)
        with np.load(result) as found:
            for name, reference in expected.items():
                span = float(np.ptp(reference.astype(np.float32))) or 1.0
                worst = np.abs(found[name].astype(np.float32) - reference.astype(np.float32)).max()
                assert worst < (2e-3 if precision == "fp32" else 2e-2) * span, f"{stage.name}: {name}"
