"""Packages whose manifests say something else: another precision, enough wherever no graph is run, or a sampling."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

TYPES = {"fp16": "float16", "bf16": "bfloat16"}


def relabelled(package: Path, folder: Path, precision: str) -> Path:
    """A copy of the fp32 ``package`` in ``folder`` whose manifest says ``precision``."""
    path = Path(shutil.copytree(package, folder / f"tiny-{precision}"))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["precision"] = precision
    for stage in manifest["stages"]:
        for tensor in (*stage["inputs"], *stage["outputs"]):
            if tensor["name"].startswith(("details", "restored")):
                tensor["dtype"] = TYPES.get(precision, "float32")
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def with_fast(package: Path, folder: Path, timesteps: tuple[int, ...] = (80, 40)) -> Path:
    """A copy of ``package`` in ``folder`` that has the sampling ``fast``, from zero."""
    path = Path(shutil.copytree(package, folder / "tiny-fast"))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["samplings"]["fast"] = {
        "timesteps": list(timesteps), "start": "zero", "coefficients": None, "judged": {}
    }  # fmt: skip
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path
