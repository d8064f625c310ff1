"""No command writes into the user's home or reports to anyone: neither we nor the libraries that we load."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARIES = {"onnxruntime", "openvino", "ncnn"}
CODE = ("runtime", "export", "calibration", "serving", "benchmarks")


def run_at_home(home: Path, *words: object, **environment: str) -> str:
    """What a user's Python prints who has set nothing that concerns us, and whose home is ``home``."""
    ours = {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(
        command, cwd=ROOT, env={**kept, "HOME": str(home), **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_home_stays_empty(ready_package, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for backend in sorted(LIBRARIES):
        run_at_home(home, "-m", "runtime", ready_package, "--self-test", "--backend", backend)
    run_at_home(home, "-c", "from runtime.doctor.child import run_probe; print(run_probe('openvino'))")
    run_at_home(home, "-c", "import calibration.extremes, calibration.quantise, benchmarks.naive_runner")
    assert list(home.iterdir()) == []


def test_what_the_user_has_set_stays(ready_package, tmp_path):
    consent = tmp_path / "intel/openvino_telemetry"
    consent.parent.mkdir()
    consent.write_text("1")
    run_at_home(tmp_path, "-m", "runtime", ready_package, "--self-test", "--backend", "openvino")
    assert list(consent.parent.iterdir()) == [consent]
    assert consent.read_text() == "1"
    # A stand-in says what it is loaded with: whether the library itself then reports differs from machine to machine.
    (tmp_path / "onnxruntime.py").write_text("import os; print(os.environ['ORT_DISABLE_TELEMETRY'])")
    load = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    load += "from runtime.engines.libraries import load; load('onnxruntime', 'a test')"
    assert run_at_home(tmp_path, "-c", load).split() == ["1"]
    assert run_at_home(tmp_path, "-c", load, ORT_DISABLE_TELEMETRY="0").split() == ["0"]


def bare_imports(file: Path) -> list[str]:
    """Imports of an engine's library that are not inside ``with loading(...)``."""
    tree = ast.parse(file.read_text())
    inside = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.With) and "loading(" in ast.unparse(block.items[0])
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        found += [name for name in names if name.partition(".")[0] in LIBRARIES and id(node) not in inside]
    return found


@pytest.mark.parametrize("folder", CODE)
def test_libraries_are_imported_in_one_way(folder):
    """A backend's own modules may: the module that opens it comes first."""
    opened = {ROOT / "runtime/backends/onnxruntime": "session.py", ROOT / "runtime/backends/openvino": "backend.py"}
    wrong = {
        str(file.relative_to(ROOT)): found
        for file in (ROOT / folder).rglob("*.py")
        if (file.parent not in opened or file.name == opened[file.parent]) and (found := bare_imports(file))
    }
    assert wrong == {}
