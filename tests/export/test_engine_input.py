"""What the engine command refuses, and what it says would work; sizes and profiles; the rewrite for old parsers."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from export.builders import tensorrt as tensorrt_builder
from export.builders.profiles import SizeRange, profile, size_range
from export.builders.tensorrt import Options, TensorRTBuilder
from export.engine import main
from export.passes.cpu_forms import restore
from export.passes.group_norm import rewrite_group_norm
from runtime.errors import BackendUnavailableError, InputError, PackageError
from runtime.machine.gpu import Gpu, current_gpu
from runtime.names import Target
from runtime.package.manifest import MANIFEST
from runtime.package.reading import Package

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "0x100"], ["smaller than 1x1"]),
        (["--size", "100x-5"], ["smaller than 1x1"]),
        (["--size", "100"], ["not WxH"]),
        (["--size", "big"], ["not WxH"]),
        (["--size", "99999x99999"], ["65536"]),
        (["--size", "800x600", "--max-size", "640x800"], ["larger than --max-size 640x800"]),
        (["--batch", "0"], ["--batch"]),
        (["--optimization-level", "9"], ["--optimization-level"]),
        (["--compute-capability", "9.0"], ["9.0", "Hopper", "--target tensorrt"]),
        (["--compute-capability", "8.7"], ["8.7", "Orin", "--target tensorrt"]),
        (["--hardware-compatibility", "ampere_plus"], ["Leave it out"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_mistakes_are_one_line_and_exit_2(tiny_package, arguments, words):
    pytest.importorskip("tensorrt_rtx")
    command = [sys.executable, "-m", "export.engine", str(tiny_package), "--target", "tensorrt-rtx", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert all(word in done.stderr for word in words)
    assert not (tiny_package / "engines").exists()


def test_size_ranges():
    one = size_range([(600, 400)], None, 32)
    assert one == SizeRange((608, 416), (608, 416), (608, 416))
    assert size_range([(600, 400), (300, 900)], None, 32) == SizeRange((320, 416), (608, 416), (608, 928))
    assert size_range([(600, 400)], (3840, 2160), 32) == SizeRange((32, 32), (608, 416), (3840, 2176))
    assert size_range([], None, 32) == SizeRange((32, 32), (608, 416), (1920, 1088))
    assert size_range([], (320, 240), 32) == SizeRange((32, 32), (320, 256), (320, 256))


def test_profiles_name_every_dynamic_input(tiny_package):
    denoiser = Package.open(tiny_package).manifest.stage("denoiser")
    shapes = profile(denoiser, SizeRange((8, 8), (16, 24), (64, 32)), 3)
    assert set(shapes) == {"x_t", "x_cond", "history"}
    assert shapes["x_t"] == [[1, 3, 2, 2], [1, 3, 6, 4], [3, 3, 8, 16]]


LEVELS = ("NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY")


def fake_library(monkeypatch, name: str, version: str, capabilities=("SM89", "SM120"), levels=LEVELS) -> None:
    library = SimpleNamespace(
        __version__=version,
        __file__="/usr/lib/python3/dist-packages/tensorrt/__init__.py",
        Builder=object,
        ComputeCapability=SimpleNamespace(**dict.fromkeys(capabilities, 0)),
        HardwareCompatibilityLevel=SimpleNamespace(**dict.fromkeys(levels, 0)),
    )
    monkeypatch.setattr(tensorrt_builder, "load", lambda name, user: library)


def with_gpu(monkeypatch, name: str | None, capability: str = "") -> None:
    gpu = Gpu(name, capability, False, "13.0") if name else None
    monkeypatch.setattr(tensorrt_builder, "current_gpu", lambda: gpu)


@pytest.mark.parametrize(("name", "capability"), [("NVIDIA H100", "9.0"), ("Orin", "8.7")])
def test_a_gpu_that_rtx_does_not_support_is_refused_by_name(monkeypatch, name, capability):
    fake_library(monkeypatch, "tensorrt_rtx", "1.7.1")
    with_gpu(monkeypatch, name, capability)
    with pytest.raises(InputError, match=rf"{name}.*{capability}.*8\.9, 12\.0.*--target tensorrt"):
        TensorRTBuilder("tensorrt-rtx", Options())
    TensorRTBuilder("tensorrt-rtx", Options(compute_capabilities=("8.9",)))  # for another machine


def test_the_environment_of_a_tensorrt_engine(monkeypatch):
    fake_library(monkeypatch, "tensorrt", "10.13.0")
    with_gpu(monkeypatch, "NVIDIA L4", "8.9")
    assert TensorRTBuilder("tensorrt", Options()).environment["library"] == "tensorrt 10.13.0"

    def scope(target: Target = "tensorrt", **options) -> tuple[str, str, tuple[str, ...]]:
        return tuple(TensorRTBuilder(target, Options(**options)).environment["gpu"].values())

    assert scope() == ("device", "NVIDIA L4", ("8.9",))
    assert scope(hardware_compatibility="ampere_plus") == ("ampere_plus", "", ())
    assert scope(hardware_compatibility="same_compute_capability") == ("compute_capability", "", ("8.9",))
    assert scope("tensorrt-rtx") == ("every_rtx", "", ())
    assert scope("tensorrt-rtx", compute_capabilities=("8.9", "12.0")) == ("compute_capability", "", ("8.9", "12.0"))


def test_a_hardware_compatibility_that_this_tensorrt_lacks_is_refused(monkeypatch):
    with_gpu(monkeypatch, "NVIDIA L4", "8.9")
    fake_library(monkeypatch, "tensorrt", "10.3.0", levels=LEVELS[:2])
    TensorRTBuilder("tensorrt", Options(hardware_compatibility="ampere_plus"))
    with pytest.raises(InputError, match=r"same_compute_capability: TensorRT 10\.3\.0 has no such level"):
        TensorRTBuilder("tensorrt", Options(hardware_compatibility="same_compute_capability"))


@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_is_on_unless_told_otherwise(tiny_package, tmp_path, monkeypatch, tf32):
    trt = pytest.importorskip("tensorrt_rtx")
    build, found = trt.Builder.build_serialized_network, []

    def spy(builder, network, config):
        found.append(config.get_flag(trt.BuilderFlag.TF32))
        return build(builder, network, config)

    monkeypatch.setattr(trt.Builder, "build_serialized_network", spy)
    package = Package.open(tiny_package)
    stage = package.manifest.stage("dwt")
    shapes = profile(stage, size_range([(64, 48)], None, package.manifest.pad_multiple), 1)
    TensorRTBuilder("tensorrt-rtx", Options(tf32=tf32)).build(package.read(stage.file), shapes, tmp_path / "timing")
    assert found == [tf32]


def test_an_rtx_engine_takes_its_memory_from_the_user(tiny_package, tmp_path, monkeypatch):
    """Without that flag it cannot be captured into a CUDA graph."""
    trt = pytest.importorskip("tensorrt_rtx")
    set_flag, flags = trt.IBuilderConfig.set_flag, []
    monkeypatch.setattr(
        trt.IBuilderConfig, "set_flag", lambda config, flag: (flags.append(flag), set_flag(config, flag))[1]
    )
    builder, package = TensorRTBuilder("tensorrt-rtx", Options()), Package.open(tiny_package)
    stage = package.manifest.stage("dwt")
    shapes = profile(stage, size_range([(64, 48)], None, package.manifest.pad_multiple), 1)
    builder.build(package.read(stage.file), shapes, tmp_path / "timing.cache")
    assert trt.BuilderFlag.REQUIRE_USER_ALLOCATION in flags
    assert builder.environment["memory"] == "given by the user"


@pytest.mark.parametrize("version", ["8.6.1", "10.0.1", "10.2.0"])
def test_an_old_tensorrt_is_refused_with_what_would_work(monkeypatch, version):
    fake_library(monkeypatch, "tensorrt", version)
    with_gpu(monkeypatch, "NVIDIA L4", "8.9")
    with pytest.raises(BackendUnavailableError, match=rf"{version} is here; 10.3 or newer .*JetPack 6.2"):
        TensorRTBuilder("tensorrt", Options())


def test_tensorrt_without_a_gpu_is_refused(monkeypatch):
    fake_library(monkeypatch, "tensorrt", "10.13.0")
    with_gpu(monkeypatch, None)
    with pytest.raises(BackendUnavailableError, match="--target tensorrt-rtx"):
        TensorRTBuilder("tensorrt", Options())


@pytest.mark.parametrize(("jetson", "cure"), [(True, "sudo apt install"), (False, "`pip install tensorrt`")])
def test_a_missing_tensorrt_names_this_platforms_package(monkeypatch, jetson, cure):
    monkeypatch.setattr("runtime.machine.gpu.is_jetson", lambda: jetson)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendUnavailableError, match=cure):
        TensorRTBuilder("tensorrt", Options())


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT itself is installed")
def test_type_stubs_alone_are_not_tensorrt(tmp_path):
    """A folder with nothing but stubs imports as an empty namespace."""
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.pyi").write_text("")
    code = (
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "from runtime.engines.libraries import load\n"
        "try:\n    load('tensorrt', '--target tensorrt')\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("tensorrt is not installed"), done.stderr


def test_current_gpu_is_none_or_described():
    gpu = current_gpu()
    if gpu is not None:
        assert gpu.name
        assert float(gpu.compute_capability) >= 3.5


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_group_norm_rewritten_for_old_parsers_computes_the_same(tiny_package, half_package, precision):
    import onnxruntime as ort

    package = tiny_package if precision == "fp32" else half_package(precision)
    original = (package / "denoiser.onnx").read_bytes()
    rewritten = rewrite_group_norm(restore(original))
    operators = {node.op_type for node in onnx.load_from_string(rewritten).graph.node}
    assert "GroupNormalization" not in operators
    assert "InstanceNormalization" in operators
    assert onnx.load_from_string(rewritten).opset_import[0].version == 20
    onnx.checker.check_model(rewritten, full_check=True)
    generator = np.random.default_rng(0)
    half = np.float16 if precision == "fp16" else np.float32
    inputs = {
        "x_t": generator.standard_normal((2, 3, 6, 10), np.float32),
        "x_cond": generator.standard_normal((2, 3, 6, 10), np.float32).astype(half),
        "history": generator.standard_normal((2, 3, 6, 10), np.float32),
        "timestep": np.array([60], np.int32),
        "coefficients": np.array([1, -0.3, 0.2, 0.5, 0.1], np.float32),
    }
    results = [ort.InferenceSession(graph).run(None, inputs) for graph in (original, rewritten)]
    for before, after in zip(*results, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5 if precision == "fp32" else 5e-3)


def test_a_graph_with_weights_outside_is_refused_before_openvino_sees_it(tiny_package, tmp_path, monkeypatch):
    """Its hash is right: the manifest is the stranger's too."""
    pytest.importorskip("openvino")
    from runtime.backends.openvino import graph as openvino_graph

    package = shutil.copytree(tiny_package, tmp_path / "package")
    model = onnx.load(package / "dwt.onnx")
    outside = model.graph.initializer.add(name="outside", data_type=onnx.TensorProto.FLOAT, dims=[1])
    outside.data_location = onnx.TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")
    content = model.SerializeToString()
    (package / "dwt.onnx").write_bytes(content)
    manifest = json.loads((package / MANIFEST).read_text())
    manifest["files"]["dwt.onnx"] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    (package / MANIFEST).write_text(json.dumps(manifest))
    seen = []
    monkeypatch.setattr(openvino_graph, "read_model", lambda *arguments: seen.append(arguments))
    with pytest.raises(PackageError, match=r"dwt\.onnx: it refers to weights in another file"):
        main([str(package), "--target", "openvino"])
    assert not seen
    assert not list(package.glob("engines/*/engine.json"))
