"""The helpers of the GPU day, as far as a CPU can run them."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path

DAY = Path(__file__).parent.parent.parent / "gpu" / "day"


def test_torch_engine_runs_on_the_fake_gpu(machine, tiny_package, make_checkpoint, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DAY))
    import torch_engine

    package, out = Path(shutil.copytree(tiny_package, tmp_path / "tiny")), tmp_path / "found.json"
    sizes = (40, 64), (70, 50)
    found = torch_engine.check(package, out, sizes, gpu=machine.gpu, checkpoint=make_checkpoint())
    assert found["ok"]
    for size in sizes:
        assert found[f"{size} replay equals first run"]
        assert found[f"{size} other photo differs"]
    assert found["stream equals calls"]
    assert found["closed"]
    assert machine.gpu.made["captures"] > 0
    assert set(json.loads(out.read_text())) == set(found)


def test_what_the_helpers_import_is_there():
    shell = (DAY / "gpu_day.sh").read_text()
    assert subprocess.run(["bash", "-n", DAY / "gpu_day.sh"], check=False).returncode == 0
    trees = [ast.parse(path.read_text()) for path in DAY.glob("*.py")]
    trees += [ast.parse(line) for line in re.findall(r"from runtime[\w.]* import \w+", shell)]
    asked = [
        (node.module, name.name)
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for name in node.names
        if node.module.partition(".")[0] in ("runtime", "export")
    ]
    assert len(asked) > 10
    for module, name in asked:
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"
