"""The calibration command as a user runs it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import onnx

from runtime.cli.progress import Progress

ROOT = Path(__file__).parent.parent.parent
WITHOUT_PYTORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnxscript", "benchmarks"}:
            raise ImportError(f"{name} is blocked by this test")
sys.meta_path.insert(0, Block())
from calibration.cli import main
assert main() == 0
found = {name for name in sys.modules if name.startswith("export.")}
assert found == {"export.passes", "export.passes.edit"}, found
"""


class Notes(Progress):
    """Shows nothing, and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def damaged(package: Path, target: Path, stage: str, edit: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of the package with one graph changed and its hash put right."""
    shutil.copytree(package, target)
    model = onnx.load(target / f"{stage}.onnx")
    edit(model)
    graph = model.SerializeToString()
    (target / f"{stage}.onnx").write_bytes(graph)
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["files"][f"{stage}.onnx"] = {"sha256": sha256(graph).hexdigest(), "bytes": len(graph)}
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def run_calibration(*arguments: object, pytorch: bool = True) -> subprocess.CompletedProcess[str]:
    """pytorch: False where it, and all of export/ but its passes, must not be loaded."""
    how = ["-m", "calibration"] if pytorch else ["-c", WITHOUT_PYTORCH]
    words = [sys.executable, *how, *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
