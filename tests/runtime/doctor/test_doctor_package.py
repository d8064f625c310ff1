"""The doctor on a package, on Pillow and on a machine without a GPU: what runs is run, and what fails is told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from runtime.doctor import checks, package
from runtime.doctor.checks import Check
from runtime.package.reading import Package

ROOT = Path(__file__).parents[3]
BACKENDS = [
    Check("backends", "onnxruntime CPUExecutionProvider", "ok", "ran"),
    Check("backends", "openvino", "ok", "ran"),
    Check("backends", "ncnn", "ok", "ran"),
    Check("backends", "tensorrt", "absent", "not installed"),
]


@pytest.fixture
def copy(tiny_package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_package, tmp_path / "package"))


def told(path: Path, backends: list[Check] = BACKENDS, engines: tuple[Check, ...] = ()) -> dict[str, Check]:
    return {check.name: check for check in package.check_package(Package.open(path), backends, engines)}


def test_files_and_the_self_test_of_each_backend_that_runs_here(ready_package: Path) -> None:
    built = tuple(checks.check_engines(Package.open(ready_package), None, {"ncnn": "", "openvino": ""}))
    found = told(ready_package, engines=(*built, Check("engines", "dwt ncnn", "ok", "fits")))
    assert [check.verdict for check in found.values()] == ["ok"] * 4, found
    assert found["files"].detail.endswith("files have the manifest's hashes")
    for name in ("onnxruntime CPUExecutionProvider", "openvino", "ncnn"):
        assert "self-test passed: at most " in found[f"self-test {name}"].detail


def test_a_backend_that_has_no_engines_is_not_tried(tiny_package: Path) -> None:
    found = told(tiny_package, [BACKENDS[2]])["self-test ncnn"]
    assert (found.verdict, found.detail) == ("absent", "not run: the package has no engines for it that fit here")


def test_a_damaged_file_is_a_problem_and_nothing_is_run_on_it(copy: Path) -> None:
    content = bytearray((copy / "idwt.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "idwt.onnx").write_bytes(content)
    ((name, check),) = told(copy).items()
    assert (name, check.verdict) == ("idwt.onnx", "problem")
    assert "the file was changed or damaged" in check.detail
    assert check.fix == f"python -m export.build CHECKPOINT --precision fp32 -o {copy} --overwrite"


def test_a_wrong_result_is_a_problem(copy: Path) -> None:
    golden = Package.open(copy).golden()
    golden["expected"] = golden["expected"] ^ 128
    np.savez(copy / "golden.npz", **golden)
    data, manifest = (copy / "golden.npz").read_bytes(), json.loads((copy / "manifest.json").read_bytes())
    manifest["files"]["golden.npz"] = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    found = told(copy, [BACKENDS[1]])["self-test openvino"]
    assert found.verdict == "problem"
    assert "differs from the golden sample" in found.detail
    assert found.fix == f"python -m runtime {copy} --self-test --backend openvino"


def test_a_self_test_that_hangs_ends(tiny_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(package, "_SELF_TEST_S", 3.0)
    found = told(tiny_package, [BACKENDS[0]])["self-test onnxruntime CPUExecutionProvider"]
    assert (found.verdict, found.detail) == ("problem", "hangs: no answer in 3 s")


def test_pillow_is_tried_with_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = checks.check_photos({"pillow": "13.0.0"})
    assert (check.verdict, check.version) == ("ok", "13.0.0"), check
    monkeypatch.setitem(sys.modules, "PIL", None)
    check = checks.check_photos({})
    assert (check.verdict, check.fix) == ("problem", "pip install 'pillow>=12,<14'")
    assert "`python -m runtime` reads and writes photos with it" in check.detail
    monkeypatch.undo()
    (tmp_path / "PIL.py").write_text("raise ImportError('libjpeg.so.62: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    check = checks.check_photos({"pillow": "13.0.0"})
    assert (check.verdict, check.fix) == ("problem", "pip install --force-reinstall 'pillow>=12,<14'")
    assert "libjpeg.so.62" in check.detail


def test_the_report_has_them_and_says_no_problem_only_where_there_is_none(tiny_package: Path) -> None:
    code = (
        "import sys\nsys.modules['PIL'] = None\nfrom runtime.doctor import __main__ as doctor, checks\n"
        f"checks.check_backends = lambda gpu, libraries: []\nsys.exit(doctor.main([{str(tiny_package)!r}, '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (1, False)
    verdicts = {(check["section"], check["name"]): check["verdict"] for check in report["checks"]}
    assert verdicts["libraries", "pillow"] == "problem"
    assert verdicts["package", "files"] == "ok"


@pytest.mark.parametrize("library", ["tensorrt", "tensorrt-rtx"])
def test_tensorrt_is_not_advised_where_no_gpu_is(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "installed", lambda library: False)
    monkeypatch.setattr(checks, "is_jetson", lambda: False)
    monkeypatch.setattr(checks, "nvidia_devices", lambda: [])
    (check,) = checks.check_backend(library, None, {})
    assert (check.verdict, check.fix) == ("absent", "")
    assert "it needs an NVIDIA GPU, and none is here" in check.detail
    monkeypatch.setattr(checks, "nvidia_devices", lambda: ["/dev/nvidia0"])  # whose driver does not run yet
    (check,) = checks.check_backend(library, None, {})
    assert check.fix == f"pip install {library}"
