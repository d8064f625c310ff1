"""The ncnn backend: its engines, precisions, devices and threads. Its pictures are compared in test_backends.py."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from export.passes.cpu_forms import restore
from export.passes.widen import widen
from runtime import BackendUnavailableError, EngineError, Enhancer, InputError
from runtime.backends import open_backend
from runtime.machine.cores import is_x86
from runtime.package.reading import Package

ROOT = Path(__file__).parents[3]


def photo() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 60, (47, 65, 3), dtype=np.uint8)


def test_ncnn_without_its_engines_names_the_command(tiny_package):
    with pytest.raises(
        EngineError,
        match=r"no ncnn engine of hfrm0 for this machine; build it: `python -m export.engine .* --target ncnn`",
    ):
        Enhancer.open(tiny_package, backend="ncnn")


@pytest.mark.parametrize(("precision", "allowed"), [("fp16", 4), ("bf16", 16)])
def test_half_precision_packages(half_package, tiny_package, tmp_path, precision, allowed):
    package = shutil.copytree(half_package(precision), tmp_path / "package")
    command = [sys.executable, "-m", "export.engine", str(package), "--target", "ncnn"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with Enhancer.open(package, backend="ncnn") as enhancer, Enhancer.open(tiny_package) as reference:
        assert enhancer.self_test() <= allowed
        difference = np.abs(enhancer(photo()).astype(int) - reference(photo()))
    assert difference.max() <= allowed
    if precision == "bf16":  # fp16 storage is for processors and GPUs that have it
        assert difference.max() > 0


def test_int8_packages_are_refused(tiny_package):
    package = Package.open(tiny_package)
    object.__setattr__(package.manifest, "precision", "int8")
    with pytest.raises(InputError, match="a package in int8; the backend ncnn takes fp32, fp16 and bf16"):
        open_backend("ncnn", package, None)


def test_no_engine_is_made_of_an_int8_graph(tmp_path):
    pytest.importorskip("pnnx")
    from export.builders.ncnn import NcnnBuilder

    scale = onnx.helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1])
    node = onnx.helper.make_node("QuantizeLinear", ["details0", "scale"], ["restored0"], output_dtype=TensorProto.INT8)
    value = onnx.helper.make_tensor_value_info("details0", TensorProto.FLOAT, [1, 9, 8, 8])
    result = onnx.helper.make_tensor_value_info("restored0", TensorProto.INT8, [1, 9, 8, 8])
    graph = onnx.helper.make_graph([node], "hfrm0", [value], [result], [scale])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    with pytest.raises(InputError, match="--target ncnn takes no int8 packages"):
        NcnnBuilder().build(model.SerializeToString(), {}, tmp_path / "timing.cache")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_widened_graph_is_float32_throughout(half_package, precision):
    """onnxruntime checks the types of every tensor as it loads, and has no bfloat16 convolution."""
    for file in ("denoiser.onnx", "hfrm0.onnx"):
        model = widen(onnx.load_from_string(restore((half_package(precision) / file).read_bytes())))
        assert {tensor.data_type for tensor in model.graph.initializer} <= {TensorProto.FLOAT, TensorProto.INT64}
        casts = {node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"}
        assert casts.isdisjoint({TensorProto.FLOAT16, TensorProto.BFLOAT16})
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        assert {node.type for node in session.get_outputs()} == {"tensor(float)"}


@pytest.mark.parametrize("provider", ["cuda", "vulkan:x", "vulkan:-1", "cpu:1"])
def test_a_provider_that_ncnn_does_not_have(ready_package, provider):
    with pytest.raises(InputError, match=f"no provider '{provider}'; use cpu, vulkan or vulkan:N"):
        Enhancer.open(ready_package, backend="ncnn", providers=[provider])


def test_a_vulkan_device_that_is_not_here(ready_package):
    with pytest.raises(BackendUnavailableError, match=r"finds \d Vulkan devices here, and vulkan:9 was asked for"):
        Enhancer.open(ready_package, backend="ncnn", providers=["vulkan:9"])


def test_what_ncnn_says_of_vulkan_is_the_reason_and_not_a_line_of_its_own(ready_package):
    """Where there is no driver, and of the devices that are there."""
    count = [sys.executable, "-c", "import ncnn; print(ncnn.get_gpu_count())"]
    words = [sys.executable, "-m", "runtime", str(ready_package), "--self-test", "--backend", "ncnn"]
    nowhere = {name: "/nonexistent" for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES")}
    for environment in (os.environ | nowhere, os.environ):
        own, ours = (
            subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
            for command in (count, [*words, "--provider", "vulkan:9"])
        )
        reason = f" ({' '.join(own.stderr.split())})" if own.stderr and own.stdout == "0\n" else ""
        assert ours.returncode == 2
        (line,) = ours.stderr.splitlines()
        assert f"finds {own.stdout.strip()} Vulkan devices here{reason}, and vulkan:9 was asked for." in line


def test_vulkan_gives_the_same_picture(ready_package):
    """In a process of its own: a driver may crash. Mesa's llvmpipe, a device in software, is enough."""
    code = (
        "import sys, ncnn, numpy as np\n"
        "if not ncnn.get_gpu_count(): sys.exit(3)\n"
        "from runtime import Enhancer\n"
        "photo = np.random.default_rng(3).integers(0, 60, (47, 65, 3), dtype=np.uint8)\n"
        "found = []\n"
        "for provider in ('cpu', 'vulkan'):\n"
        "    with Enhancer.open(sys.argv[1], backend='ncnn', providers=[provider]) as enhancer:\n"
        "        found.append(enhancer(photo, steps=2).astype(int))\n"
        "print('worst', np.abs(found[0] - found[1]).max())\n"
    )
    command = [sys.executable, "-c", code, str(ready_package)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode == 3:
        pytest.skip("no Vulkan device here")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) <= 1


def test_a_damaged_ncnn_engine_is_named(ready_package, tmp_path):
    package = shutil.copytree(ready_package, tmp_path / "package")
    weights = next(package.glob("engines/*/engine.bin"))
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(EngineError, match=r"engine.bin: .*truncated.*--target ncnn --rebuild"):
        Enhancer.open(package, backend="ncnn")


def test_options_that_ncnn_does_not_have_are_refused(tiny_package):
    command = [
        sys.executable,
        "-m",
        "export.engine",
        str(tiny_package),
        "--target",
        "ncnn",
        "--batch",
        "2",
        "--workspace",
        "64",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --batch, --workspace: not for --target ncnn")


@pytest.mark.parametrize("given", [None, "7"])
def test_ncnn_is_told_how_long_to_spin_and_nothing_else_is(given):
    """The environment inside and after the import, and a user's own value."""
    code = (
        "import os, sys, types\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'ncnn': print(os.environ.get('GOMP_SPINCOUNT'))\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import runtime.backends.ncnn\n"
        "print(os.environ.get('GOMP_SPINCOUNT'))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    environment |= {} if given is None else {"GOMP_SPINCOUNT": given}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ([given, given] if given else ["2000", "None"])


@pytest.mark.parametrize(
    ("x86", "layers", "fused"),
    [(True, {"SDPA"}, True), (False, {"SDPA"}, False), (True, {"MatMul", "Softmax"}, False)],
)
def test_all_scores_are_counted_where_ncnn_holds_them(ready_package, monkeypatch, x86, layers, fused):
    """On Arm, and where attention was not made into ncnn's layer."""

    class Net:
        def __init__(self, *_):
            self.layers = layers

    monkeypatch.setattr("runtime.backends.ncnn._Net", Net)
    monkeypatch.setattr("runtime.backends.ncnn.is_x86", lambda: x86)
    traits = open_backend("ncnn", Package.open(ready_package), None).traits
    assert (traits.live_plain == 0) is fused


@pytest.mark.skipif(not is_x86(), reason="ncnn fuses attention on x86")
def test_attention_never_holds_all_scores(ready_package):
    """9,216 places: all scores are 324 MiB. In a process of its own, whose peak the kernel keeps."""
    code = (
        "import sys, resource\n"
        "from pathlib import Path\n"
        "from runtime.backends import open_backend\n"
        "from runtime.package.reading import Package\n"
        "package = Package.open(Path(sys.argv[1]))\n"
        "backend = open_backend('ncnn', package, None)\n"
        "specs = package.manifest.stage('denoiser').tensors\n"
        "tensors = {name: backend.buffer(spec, spec.resolve(1, 768, 768)) for name, spec in specs.items()}\n"
        "call = backend.bind('denoiser', tensors)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "call()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before >> 10)\n"
    )
    command = [sys.executable, "-c", code, str(ready_package)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 324


def test_a_killed_conversion_leaves_nothing_for_long(tiny_package, tmp_path, monkeypatch):
    """pnnx needs files of 40 to 80 MB; those of a process that was killed are taken away by the next one."""
    pytest.importorskip("pnnx")
    from export.builders.ncnn import NcnnBuilder

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # asked for again
    code = (
        "import os, signal, subprocess, sys; from pathlib import Path; from export.builders.ncnn import NcnnBuilder\n"
        "subprocess.run = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # where pnnx would begin\n"
        "NcnnBuilder().build(Path(sys.argv[1], 'hfrm0.onnx').read_bytes(), {}, Path('timing.cache'))\n"
    )
    words = [sys.executable, "-c", code, str(tiny_package)]
    assert subprocess.run(words, cwd=ROOT, timeout=60).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "stage.onnx").stat().st_size > 1000
    files, _ = NcnnBuilder().build((tiny_package / "hfrm0.onnx").read_bytes(), {}, tmp_path / "timing.cache")
    assert len(files["engine.bin"]) > 1000
    assert list(tmp_path.iterdir()) == []
