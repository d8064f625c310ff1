"""Who may import whom, tried in fresh processes where the forbidden libraries cannot be imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import BackendUnavailableError, Enhancer
from runtime.machine.gpu import current_gpu

ROOT = Path(__file__).parent.parent
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked by this test", name=name)
sys.meta_path.insert(0, Block())
"""


def run_blocked(blocked: set[str], code: str) -> str:
    script = BLOCK.format(blocked=blocked) + code
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_runtime_runs_where_torch_and_onnx_cannot_be_imported(tiny_package, tmp_path):
    out = tmp_path / "bright.png"
    run_blocked(
        {"torch", "onnx", "onnxscript", "export", "safetensors"},
        f"from runtime.cli.photos import main\n"
        f"assert main([{str(tiny_package)!r}, 'assets/sample.png', '-o', {str(out)!r}, '--steps', '1']) == 0\n"
        f"assert main([{str(tiny_package)!r}, '--self-test']) == 0\n",
    )
    assert out.stat().st_size > 10_000


def test_serving_runs_where_torch_and_onnx_cannot_be_imported(tiny_package):
    run_blocked(
        {"torch", "onnx", "onnxscript", "export", "safetensors"},
        f"import serving.server\nfrom pathlib import Path\nfrom runtime import Enhancer\n"
        f"from serving.settings import EngineSettings\nfrom serving.tasks import Bench\n"
        f"with Enhancer.open({str(tiny_package)!r}) as enhancer:\n"
        f"    bench = Bench(enhancer, EngineSettings(str(enhancer.package.path)))\n"
        f"    options = {{'sampling': 'published', 'kind': None, 'quality': None}}\n"
        f"    work = bench.prepare({{'task': 'photo', 'options': options}}, Path('assets/sample.png').read_bytes())\n"
        f"    assert work.finish(work.pixels).content[:4] == b'\\x89PNG'\n",
    )


def test_arrays_need_neither_pillow_nor_tifffile(tiny_package):
    run_blocked(
        {"PIL", "tifffile", "torch", "onnx"},
        f"import numpy as np\nfrom runtime import Enhancer\n"
        f"with Enhancer.open({str(tiny_package)!r}) as enhancer:\n"
        f"    assert enhancer(np.full((9, 9, 3), 20, np.uint8), steps=1).shape == (9, 9, 3)\n",
    )


@pytest.mark.parametrize("library", ["onnxruntime", "openvino", "ncnn"])
def test_a_missing_engine_library_is_named_with_its_cure(tiny_package, library):
    out = run_blocked(
        {library},
        f"from runtime import Enhancer, BackendUnavailableError\n"
        f"try:\n    Enhancer.open({str(tiny_package)!r}, backend={library!r})\n"
        f"except BackendUnavailableError as error:\n    print(error)\n",
    )
    assert f"pip install {library}" in out
    here = {"onnxruntime", "openvino", "ncnn"} - {library}
    assert {name for name in ("onnxruntime", "openvino", "ncnn", "auto") if f"`--backend {name}`" in out} == here
    assert "--backend tensorrt" not in out or current_gpu()


def test_the_command_names_the_backend_that_is_here_and_runs_no_other_unasked(tiny_package, tmp_path):
    out = tmp_path / "bright.png"
    words = f"{str(tiny_package)!r}, 'assets/sample.png', '-o', {str(out)!r}, '--steps', '1'"
    code = (
        f"from runtime.cli.photos import main\nfrom runtime import BackendUnavailableError\n"
        f"try:\n    main([{words}])\n"
        f"except BackendUnavailableError as error:\n    print(error)\n"
    )
    said = run_blocked({"onnxruntime", "ncnn", "torch", "tensorrt", "tensorrt_rtx"}, code)
    assert said.endswith('Or use what is installed here: `--backend openvino`; in Python backend="openvino".\n')
    assert not out.exists()
    run_blocked({"onnxruntime"}, code.replace("'--steps'", "'--backend', 'openvino', '--steps'"))
    assert out.exists()


def test_where_no_library_is_here_none_is_named(tiny_package):
    blocked = {"onnxruntime", "openvino", "ncnn", "tensorrt", "tensorrt_rtx"}
    out = run_blocked(
        blocked,
        f"from runtime.cli.photos import main\n"
        f"try:\n    main([{str(tiny_package)!r}, '--self-test'])\n"
        f"except ImportError as error:\n    print(error)\n",
    )
    assert out.endswith("`pip install onnxruntime`.\n")


def test_a_provider_that_is_absent_is_no_reason_for_another_backend(tiny_package):
    with pytest.raises(BackendUnavailableError) as raised:
        Enhancer.open(tiny_package, providers="CUDA")
    assert "--backend" not in str(raised.value)


@pytest.mark.parametrize("file", sorted((ROOT / "runtime").rglob("*.py")), ids=lambda path: path.name)
def test_runtime_imports_its_own_parts_relatively(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            assert name.partition(".")[0] not in {
                "runtime", "export", "calibration", "benchmarks", "torch", "onnx", "diffll"
            }, f"{file}: import {name}"  # fmt: skip


@pytest.mark.parametrize(
    "module",
    [
        "runtime",
        "runtime.plan",
        "runtime.doctor",
        "export.build",
        "export.engine",
        "export.single",
        "calibration",
        "calibration.sampling",
        "serving",
        "serving.triton",
        "serving.cluster",
        "training",
        "training.sheet",
        "benchmarks.quality",
        "benchmarks",
        "benchmarks.report",
        "benchmarks.single",
        "benchmarks.tiling",
        "benchmarks.islands",
        "benchmarks.full_size",
        "benchmarks.serving",
        "benchmarks.folders",
    ],
)
def test_help_answers_without_heavy_imports(module):
    code = (
        "import runpy, sys\nsys.argv = ['x', '--help']\n"
        f"try:\n    runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'numpy', 'torch', 'onnx', 'onnxruntime', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m " + module in done.stdout
