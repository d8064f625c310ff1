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
from sampled import with_samplings

from runtime import EngineError, Enhancer
from runtime.backends.openvino import backend as openvino_
from runtime.doctor import checks
from runtime.engines.cache import EngineCache, EngineKey
from runtime.engines.fit import REWRITE_VERSION, Machine, misfit
from runtime.package.reading import Package

ROOT = Path(__file__).parents[3]


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
    package = shutil.copytree(compiled, tmp_path / "package")
    cache = EngineCache(package)
    engine = next(cache.entries())
    cache.store(EngineKey(**engine.key), {"engine.blob": b"nothing"}, engine.report)
    with pytest.raises(EngineError, match=r"OpenVINO .* cannot load it.*--target openvino --rebuild"):
        Enhancer.open(package, backend="openvino")


@pytest.fixture(scope="module")
def of_two_sizes(tiny_package, tmp_path_factory) -> Path:
    """The small network's package with engines of two sizes, and none for the others, and the sampling `fast`."""
    package = with_samplings(tiny_package, tmp_path_factory.mktemp("openvino") / "package")
    command = [sys.executable, "-m", "export.engine", str(package), "--target", "openvino"]
    command += ["--size", "65x47", "--size", "60x40", "--size", "66x48"]  # the first and the last are one size, padded
    for built in (10, 0):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
        assert done.stderr.splitlines()[-1] == f"{built} of 10 engines built, {10 - built} were there"
    return package


def test_engines_of_one_size_run_photos_of_that_size(tiny_package, of_two_sizes, compilations):
    def photo(width: int, height: int) -> np.ndarray:
        return np.random.default_rng(width).integers(0, 60, (height, width, 3), dtype=np.uint8)

    with Enhancer.open(of_two_sizes, backend="openvino") as enhancer:
        assert not compilations
        assert enhancer.backend.why == "engines of 64x40, 72x48 run photos of that size"
        order = [(65, 47), (60, 40), (65, 47), (70, 90), (60, 40), (70, 90)]
        found = [(enhancer(photo(*size), seed=1), len(compilations)) for size in order]
        batch = enhancer([photo(65, 47), photo(65, 47)], seed=1)  # no engine is for two
        fast = [enhancer(photo(*size), sampling="fast") for size in order]
        fast += enhancer.stream([photo(65, 47)] * 2, sampling="fast")
    assert len(compilations) == 5  # the loop's calls are data
    assert [count for _, count in found] == [0, 0, 0, 5, 5, 5]
    with Enhancer.open(tiny_package, backend="openvino") as enhancer:
        for size, (pixels, _) in zip(order, found, strict=True):
            assert np.abs(pixels.astype(int) - enhancer(photo(*size), seed=1)).max() <= 1
        for pixels in batch:
            assert np.abs(pixels.astype(int) - enhancer(photo(65, 47), seed=1)).max() <= 1
    with Enhancer.open(of_two_sizes) as enhancer:
        for size, pixels in zip([*order, (65, 47), (65, 47)], fast, strict=True):
            assert np.abs(pixels.astype(int) - enhancer(photo(*size), sampling="fast")).max() <= 1


def test_engines_of_one_size_are_left_out_where_memory_is_promised(of_two_sizes, compilations):
    """What they hold beside the others was not planned."""
    with Enhancer.open(of_two_sizes, backend="openvino", max_memory="2GiB") as enhancer:
        assert len(compilations) == 5
        assert enhancer.backend.why == "engines of 64x40, 72x48 left out: they take more memory"
        enhancer(np.zeros((47, 65, 3), np.uint8))
    assert len(compilations) == 5


def test_a_range_of_sizes_is_refused(tiny_package, tmp_path):
    package = shutil.copytree(tiny_package, tmp_path / "package")
    command = [sys.executable, "-m", "export.engine", str(package), "--target", "openvino", "--max-size", "640x480"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --max-size: not for --target openvino, whose engines take one size or every size")
    assert not (package / "engines").exists()


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


def test_the_doctor_knows_them(compiled, monkeypatch):
    (openvino,) = checks.check_backend("openvino", None, {})
    versions = {"openvino": openvino.version}
    found = list(checks.check_engines(Package.open(compiled), None, versions))
    assert len(found) == 5
    assert {(one.verdict, one.detail) for one in found} == {("ok", "fits")}, found
    here = checks.run_probe("openvino_environment", "fp32")
    monkeypatch.setattr(checks, "run_probe", lambda *_: here | {"processor": "another"})
    found = list(checks.check_engines(Package.open(compiled), None, versions))
    assert {one.verdict for one in found} == {"problem"}  # as the backend, which compiles the graphs then
    assert all("built for the processor" in one.detail for one in found)
    monkeypatch.setattr(checks, "run_probe", lambda *_: {"error": "crashes the process (SIGSEGV)"})
    found = list(checks.check_engines(Package.open(compiled), None, versions))
    assert all("openvino does not load here" in one.detail for one in found)


def test_those_of_a_graph_that_was_written_otherwise_are_left_alone(compiled, compilations, tmp_path, monkeypatch):
    monkeypatch.setitem(REWRITE_VERSION, "openvino", -1)
    Enhancer.open(compiled, backend="openvino").close()
    assert len(compilations) == 5
    (reason,) = {
        misfit(engine, Package.open(compiled), Machine({"openvino": ov.get_version()}))
        for engine in EngineCache(compiled).entries()
    }
    assert reason == "another version of this project compiled it"
