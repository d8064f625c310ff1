"""One place writes: what a user keeps goes through runtime/machine, and scratch that a kill leaves is found again."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("runtime", "export", "calibration", "benchmarks", "training", "serving")
WRITERS = {
    "write_bytes", "write_text", "savefig", "mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile", "replace",
    "rename", "renames", "link", "copytree", "copy", "copy2", "copyfile", "save", "savez", "tofile", "dump",
}  # fmt: skip
MAY = {
    "runtime/machine/files.py": "the writer",
    "runtime/machine/leftovers.py": "finishes what a writer began",
    "runtime/package/replacing.py": "into the folder of a package that is not whole yet",
    "runtime/package/writing.py": "the same",
    "runtime/engines/cache.py": "into the folder of an engine that is not whole yet",
    "export/assemble.py": "into the folder of a package that is not whole yet",
    "calibration/assemble.py": "the same",
    "calibration/sampling/package.py": "the same",
    "export/passes/emulate.py": "into a scratch folder",
    "export/builders/ncnn.py": "the same",
    "export/builders/tensorrt.py": "the same",
    "runtime/doctor/probes.py": "the same",
    "benchmarks/naive_trace.py": "the same",
    "benchmarks/worker.py": "the same",
    "benchmarks/measure.py": "the same",
    "benchmarks/run.py": "the same",
    "benchmarks/folders.py": "the same",
    "serving/cluster/actor.py": "the same",
    "serving/triton/repository.py": "into a folder that is not whole yet",
    "training/state.py": "into memory: torch.save",
}
MODULES = {"os", "shutil", "tempfile", "np", "onnx", "torch", "json", "pickle"}
PATHS = {"write_bytes", "write_text", "savefig", "tofile"}


def writes(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in WRITERS - {"replace", "save", "link"}:
            yield f"{node.lineno}: {node.func.id}"
        elif isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, node.func.value
            own = isinstance(owner, ast.Name) and owner.id in MODULES
            if name in WRITERS and (own or name in PATHS):
                yield f"{node.lineno}: {ast.unparse(node.func)}"


def in_memory(found: str) -> bool:
    """Into a BytesIO or a string: what is written is handed on."""
    return found.split(": ")[1] in {"np.savez", "np.save", "figure.savefig"}


def test_nobody_else_writes_files() -> None:
    found = {}
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            name = str(file.relative_to(ROOT))
            others = [one for one in writes(file) if not in_memory(one)]
            if others and name not in MAY:
                found[name] = others
    assert found == {}, "write through runtime/machine/files.py, or into a scratch_folder"
