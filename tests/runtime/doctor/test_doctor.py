"""The doctor: a real run on this machine, and the faults that it is there for, made for real where they can be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from runtime.doctor import __main__ as doctor
from runtime.doctor import checks, child, probes
from runtime.engines.cache import EngineCache, EngineKey
from runtime.engines.fit import GpuScope, environment
from runtime.errors import EngineError
from runtime.machine.gpu import Gpu
from runtime.package.manifest import Manifest, Stage
from runtime.package.reading import Package

ROOT = Path(__file__).parents[3]
RTX = Gpu("NVIDIA GeForce RTX 4090", "8.9", False, "12.8")
FAKE_ONNXRUNTIME = """
import os, time
__version__ = "1.30.0"
def get_available_providers():
    return ["CrashExecutionProvider", "HangExecutionProvider", "FallsExecutionProvider", "WrongExecutionProvider"]
class SessionOptions:
    def add_session_config_entry(self, *entry): pass
class InferenceSession:
    def __init__(self, graph, options, providers):
        self.providers = providers
        if providers[0].startswith("Crash"):
            os.abort()
        if providers[0].startswith("Hang"):
            time.sleep(60)
        if providers[0].startswith("Falls"):
            os.write(2, b"Failed to load: libcublasLt.so.13: cannot open shared object file: No such file")
            self.providers = ["CPUExecutionProvider"]
    def get_providers(self):
        return self.providers
    def run(self, names, feeds):
        return [feeds["x"][:, :1]]
"""


@pytest.fixture
def no_backends(monkeypatch):
    monkeypatch.setattr(checks, "check_backends", lambda gpu, libraries: [])


def by_name(report) -> dict[str, dict]:
    return {check["name"]: check for check in report["checks"]}


def install(folder: Path, name: str, version: str) -> None:
    """Put a distribution's metadata on a folder of sys.path, as pip would."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_here_as_json():
    command = [sys.executable, "-m", "runtime.doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    report = json.loads(done.stdout)
    assert done.stderr == ""
    assert done.returncode == (0 if report["ok"] else 1)
    assert set(report) == {"ok", "summary", "version", "machine", "gpu", "libraries", "checks"}
    assert set(report["machine"]) == {
        "platform", "python", "jetson", "processor", "features", "features_missing", "usable_cores", "memory_mib"
    }  # fmt: skip
    for check in report["checks"]:
        assert set(check) == {"section", "name", "verdict", "detail", "fix", "version"}
        assert check["verdict"] in ("ok", "absent", "problem")
        assert check["fix"] or check["verdict"] != "problem"
    cpu = by_name(report)["onnxruntime CPUExecutionProvider"]
    assert (cpu["verdict"], cpu["version"]) == ("ok", report["libraries"]["onnxruntime"])
    assert "ran the test graph" in cpu["detail"]


def test_the_graph_is_what_its_comment_says():
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    def tensor(name: str, shape: list[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "g",
        [tensor("x", [1, 2, 8, 8])],
        [tensor("y", [1, 1, 8, 8])],
        [numpy_helper.from_array(probes.CONV_WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    kept = onnx.load_from_string(probes.CONV_GRAPH)
    onnx.checker.check_model(kept, full_check=True)
    assert kept == model
    output = ReferenceEvaluator(kept).run(None, {"x": probes.CONV_INPUT})[0]
    np.testing.assert_allclose(probes.CONV_EXPECTED, output, atol=1e-6)


def test_providers_that_crash_hang_fall_back_or_compute_wrong(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text(FAKE_ONNXRUNTIME)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(child, "TIMEOUT_S", 3.0)
    found = list(checks.check_backend("onnxruntime", None, {"onnxruntime": "1.30.0"}))
    assert [check.verdict for check in found] == ["problem"] * 4
    assert [check.version for check in found] == ["1.30.0"] * 4
    assert {check.fix for check in found} == {"pip install --force-reinstall onnxruntime==1.30.0"}
    crash, hang, falls, wrong = (check.detail for check in found)
    assert "crashes the process (SIGABRT)" in crash
    assert "hangs: no answer in 3 s" in hang
    assert "falls back to CPUExecutionProvider (libcublasLt.so.13 is not found)" in falls
    assert "wrong result" in wrong


def test_a_broken_library_is_a_problem_and_a_missing_one_is_not(tmp_path, monkeypatch):
    (tmp_path / "openvino.py").write_text("raise ImportError('libtbb.so.12: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    (check,) = checks.check_backend("openvino", None, {})
    assert (check.verdict, check.fix) == ("problem", "pip install --force-reinstall openvino")
    assert "libtbb.so.12" in check.detail
    monkeypatch.setattr(checks, "installed", lambda library: False)
    (check,) = checks.check_backend("ncnn", None, {})
    assert (check.verdict, check.detail, check.fix) == ("absent", "not installed", "pip install ncnn")


def test_ncnn_runs_the_graph_on_the_processor_and_on_every_vulkan_device(monkeypatch):
    pytest.importorskip("ncnn")
    check, *others = checks.check_backend("ncnn", None, {})
    assert (check.name, check.verdict) == ("ncnn", "ok")
    assert "ran the test graph (at most 0 off)" in check.detail
    assert all(other.name.startswith("ncnn vulkan") and other.verdict in ("ok", "absent") for other in others)
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        monkeypatch.setenv(name, "/nonexistent")
    *_, told = checks.check_backend("ncnn", None, {})
    assert re.fullmatch(r"no Vulkan device here( \(vkCreateInstance failed -\d+\))?", told.detail), told
    answers = {
        ("ncnn",): {"version": "1", "ran": "ran the test graph"},
        ("vulkan",): {"devices": 2},
        ("ncnn", "0"): {"version": "1", "ran": "ran the test graph on Mali"},
        ("ncnn", "1"): {"error": "crashes the process (SIGSEGV)"},
    }
    monkeypatch.setattr(checks, "run_probe", lambda *words: answers[words])
    assert [(one.name, one.verdict) for one in checks.check_backend("ncnn", None, {})] == [
        ("ncnn", "ok"),
        ("ncnn vulkan:0", "ok"),
        ("ncnn vulkan:1", "problem"),
    ]


def test_a_wrong_result_of_ncnn_is_told(monkeypatch):
    pytest.importorskip("ncnn")
    monkeypatch.setattr(probes, "CONV_EXPECTED", -probes.CONV_EXPECTED)
    with pytest.raises(ValueError, match="wrong result"):
        probes._ncnn()


def test_two_onnxruntime_wheels_at_once(tmp_path, monkeypatch, capsys, no_backends):
    install(tmp_path, "onnxruntime-gpu", "1.26.0")
    install(tmp_path, "onnxruntime", "1.26.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("runtime.machine.gpu.current_gpu", lambda: None)
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM  onnxruntime" in out
    assert "onnxruntime 1.26.0, onnxruntime-gpu 1.26.0: they overwrite each other" in out
    line = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install --force-reinstall onnxruntime==1.26.0"
    assert f"-> {line}\n" in out
    assert out.splitlines()[-1].startswith("2 problems")  # and no backend runs


def test_without_numpy_the_doctor_says_so():
    code = (
        "import json, sys\nsys.modules['numpy'] = None\n"
        "from runtime.doctor import checks\n"
        "print(json.dumps([check.fix for check in checks.check_libraries({}, None)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == ["pip install numpy"], done.stderr


@pytest.mark.parametrize(
    ("wheel", "driver", "verdict"),
    [("1.31.1", "12.8", "problem"), ("1.26.0", "12.8", "ok"), ("1.26.0", "13.0", "ok"), ("1.27.0", "13.0", "ok")],
)
def test_the_cuda_of_wheel_and_driver(wheel, driver, verdict):
    gpu = Gpu(RTX.name, "8.9", False, driver)
    _, cuda = checks.check_gpu(gpu, {"onnxruntime-gpu": wheel})
    assert cuda.verdict == verdict
    assert cuda.fix == ('pip install "onnxruntime-gpu[cuda,cudnn]<1.27"' if verdict == "problem" else "")
    assert driver in cuda.detail


@pytest.mark.parametrize(
    ("scope", "fits", "words"),
    [
        (GpuScope("device", RTX.name, ("8.9",)), True, "NVIDIA GeForce RTX 4090, 8.9"),
        (GpuScope("device", "NVIDIA H100", ("9.0",)), False, "NVIDIA H100, 9.0"),
        (GpuScope("device", "NVIDIA L4", ("8.9",)), False, "NVIDIA L4, 8.9"),
        (GpuScope("every_rtx"), True, "every GPU that TensorRT-RTX supports"),
        (GpuScope("ampere_plus"), True, "Ampere or newer"),
        (GpuScope("compute_capability", compute_capabilities=("8.9",)), True, "compute capability 8.9"),
        (GpuScope("compute_capability", compute_capabilities=("8.6", "9.0")), False, "compute capability 8.6 or 9.0"),
    ],
    ids=str,
)
def test_which_gpu_an_engine_fits(scope, fits, words):
    assert scope.fits(RTX) is fits
    assert str(scope) == words


def test_engines_of_a_package(tmp_path, monkeypatch, capsys):
    path, versions = tmp_path / "package", {"tensorrt": "10.13.0"}
    path.mkdir()
    stages = tuple(Stage(name, f"{name}.onnx", (), ()) for name in ("dwt", "denoiser", "idwt"))
    files = {stage.file: (stage.name.ljust(64, "0"), 1) for stage in stages}
    package = Package(path, Manifest("fp32", 1, 2, 1, 1, (0.0,), (1.0,), stages, {}, files, {}))
    assert [check.verdict for check in checks.check_engines(package, RTX, versions)] == ["absent"]

    def store(version: str, stage: str = "dwt", command: str = "", gpu: Gpu = RTX) -> Path:
        digest = package.manifest.files[package.manifest.stage(stage).file][0]
        scope = {"gpu": asdict(GpuScope("device", gpu.name, (gpu.compute_capability,)))}
        key = EngineKey(stage, digest, "tensorrt", environment("tensorrt", version) | scope, {}, {})
        return EngineCache(path).store(key, {"engine.plan": b"x"}, {"command": command}).path

    command = "python -m export.engine package --target tensorrt --size 640x480"
    store("10.3.0", command=command)
    (stale,) = checks.check_engines(package, RTX, versions)
    assert (stale.name, stale.verdict) == ("dwt tensorrt", "problem")
    assert stale.fix == f"python -m export.engine {path} --target tensorrt --size 640x480"  # where the package is now
    assert "built with tensorrt 10.3.0, installed is 10.13.0" in stale.detail

    store("10.13.0")  # the same engine built again: the old one is only left over
    verdicts = {check.detail: check.verdict for check in checks.check_engines(package, RTX, versions)}
    assert verdicts.pop("fits") == "ok"
    assert list(verdicts.values()) == ["absent"]
    assert "ok" not in {check.verdict for check in checks.check_engines(package, None, versions)}

    store("10.13.0", "idwt", "rm -rf ~; echo", gpu=Gpu("NVIDIA H100", "9.0", False, "13.0"))
    (other,) = (check for check in checks.check_engines(package, RTX, versions) if check.name == "idwt tensorrt")
    assert "built for NVIDIA H100, 9.0; here is NVIDIA GeForce RTX 4090, 8.9" in other.detail
    assert other.fix == f"python -m export.engine {path} --target tensorrt"

    not_here = list(checks.check_engines(package, RTX, {"tensorrt": ""}))
    assert {check.fix for check in not_here} == {"pip install tensorrt"}
    damaged = store("10.13.0", "denoiser")
    (damaged / "engine.json").write_text("{")
    (found,) = (check for check in checks.check_engines(package, RTX, versions) if check.name == damaged.name)
    assert (found.verdict, found.fix) == ("problem", f"rm -r {damaged}")

    tensorrt = checks.Check("backends", "tensorrt", "ok", "loads", version="10.13.0")
    monkeypatch.setattr(checks, "check_backends", lambda gpu, libraries: [tensorrt])
    monkeypatch.setattr("runtime.machine.gpu.current_gpu", lambda: RTX)
    monkeypatch.setattr(Package, "open", lambda path: package)
    monkeypatch.setattr("runtime.doctor.package.check_package", lambda *_: [])  # it has no files
    assert doctor.main([str(path)]) == 1
    out = capsys.readouterr().out
    assert f"-> {other.fix}\n" in out
    assert out.splitlines()[-1] == "2 problems, each with a -> line; ok here: tensorrt"


def test_the_photos_that_an_engine_takes_are_named(tiny_package, tmp_path):
    """With engines of three sizes beside a package, "fits" three times would say nothing."""
    path = Path(shutil.copytree(tiny_package, tmp_path / "package"))
    package = Package.open(path)
    stage = package.manifest.stage("hfrm1")

    def store(profile: dict) -> None:
        digest = package.manifest.files[stage.file][0]
        key = EngineKey(stage.name, digest, "tensorrt", environment("tensorrt", "10.13.0"), profile, {})
        EngineCache(path).store(key, {"engine.plan": b"x"}, {})

    shapes = [[1, 9, 4, 8], [1, 9, 24, 48], [2, 9, 24, 48]]
    store({})
    store({"details1": [shapes[1]] * 3})
    store({"details1": shapes})
    with pytest.raises(EngineError, match="three shapes an input is wanted"):
        store({"details1": [[1], None, "x"]})
    found = checks.check_engines(package, RTX, {"tensorrt": "10.13.0"})
    assert sorted(check.detail.partition("(engine.json")[0] for check in found) == [
        "fits",
        "fits (photos of 192x96)",
        "fits (photos of 32x16 to 192x96, batch up to 2)",
        "not taken: damaged ",
    ]


def test_the_package_is_read_before_anything_is_tried(capsys):
    from runtime.cli.command import run_command

    with pytest.raises(SystemExit) as end:
        run_command(doctor.main, ["no-such-package"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: no-such-package: does not exist")


def test_help_imports_nothing_heavy():
    code = (
        "import runpy, sys\nsys.argv = ['x', '--help']\n"
        "try:\n    runpy.run_module('runtime.doctor', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'numpy', 'onnxruntime', 'openvino', 'subprocess', 'importlib.metadata'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m runtime.doctor" in done.stdout
