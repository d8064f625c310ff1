"""OpenVINO's compiled models, kept beside a package by the engine command, and what opening makes of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from runtime import EngineError, Enhancer
from runtime.backends import openvino_

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def compiled(tiny_package, tmp_path_factory) -> Path:
    """The small network's package with its compiled models."""
    package = shutil.copytree(tiny_package, tmp_path_factory.mktemp("openvino") / "package")
    command = [sys.executable, "-m", "export.engine", str(package), "--target", "openvino"]
    for built in (5, 0):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
        assert done.stderr.splitlines()[-1] == f"{built} of 5 engines built, {5 - built} were there"
    return package


@pytest.fixture
def compilations(monkeypatch) -> list[str]:
    """What OpenVINO compiles from a graph during the test."""
    seen: list[str] = []
    original = ov.Core.compile_model

    def compile_model(self, model, *args, **kwargs):
        seen.append(model.friendly_name)
        return original(self, model, *args, **kwargs)

    monkeypatch.setattr(openvino_.ov.Core, "compile_model", compile_model)
    return seen


def test_they_are_loaded_and_give_the_same_picture(tiny_package, compiled, compilations):
    photo = np.random.default_rng(3).integers(0, 60, (47, 65, 3), dtype=np.uint8)
    with Enhancer.open(compiled, backend="openvino") as enhancer:
        assert not compilations
        found = enhancer(photo, seed=1)
        assert enhancer.self_test() <= 1
    with Enhancer.open(tiny_package, backend="openvino") as enhancer:
        assert len(compilations) == 5
        np.testing.assert_array_equal(found, enhancer(photo, seed=1))


def test_those_of_another_version_are_left_alone(compiled, compilations, tmp_path):
    package = shutil.copytree(compiled, tmp_path / "package")
    for entry in package.glob("engines/*/engine.json"):
        content = json.loads(entry.read_text())
        content["key"]["environment"]["library"] = "openvino 1.0"
        entry.write_text(json.dumps(content))
    Enhancer.open(package, backend="openvino").close()
    assert len(compilations) == 5


def test_a_damaged_one_is_named_with_the_cure(compiled, tmp_path):
    package = shutil.copytree(compiled, tmp_path / "package")
    blob = next(package.glob("engines/*/engine.blob"))
    blob.write_bytes(blob.read_bytes()[:-10])
    with pytest.raises(EngineError, match=r"engine.blob: .*truncated.*--target openvino --rebuild"):
        Enhancer.open(package, backend="openvino")


def test_one_that_openvino_refuses_is_named_with_the_cure(compiled, tmp_path):
    """Whole, of this machine by its key, and nothing that OpenVINO can read."""
    from hashlib import sha256

    package = shutil.copytree(compiled, tmp_path / "package")
    entry = next(package.glob("engines/*/engine.json"))
    content = json.loads(entry.read_text())
    (entry.parent / "engine.blob").write_bytes(b"nothing")
    content["files"]["engine.blob"] = {"sha256": sha256(b"nothing").hexdigest(), "bytes": 7}
    entry.write_text(json.dumps(content))
    with pytest.raises(EngineError, match=r"OpenVINO .* cannot load it.*--target openvino --rebuild"):
        Enhancer.open(package, backend="openvino")


def test_photos_stay_in_float32_beside_bfloat16():
    """The wavelet stages of a bf16 or int8 package: eight bits of mantissa would show."""
    config = openvino_.cpu_config
    assert config("mixed", ("details0", "restored0"))["INFERENCE_PRECISION_HINT"] == ov.Type.bf16
    for tensors in (("image", "x_cond", "details0"), ("x_0", "restored0", "image")):
        assert config("mixed", tensors)["INFERENCE_PRECISION_HINT"] == ov.Type.f32
    assert config("f32", ("details0", "restored0"))["INFERENCE_PRECISION_HINT"] == ov.Type.f32
    core = ov.Core()
    half = "mixed" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    found = {precision: openvino_.compute_precision(core, precision) for precision in ("fp32", "fp16", "int8", "bf16")}
    assert found == {"fp32": "f32", "fp16": "f32", "int8": half, "bf16": half}
