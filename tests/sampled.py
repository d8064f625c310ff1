"""Packages with more samplings than the published one, for the tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FAST = {"fast": {"timesteps": [80, 40], "start": "zero", "coefficients": None, "judged": {"photos": 3}}}


def with_manifest(package: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy, with its engines, whose manifest was changed."""
    shutil.copytree(package, target)
    manifest = json.loads((target / "manifest.json").read_text())
    change(manifest)
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def with_samplings(package: Path, target: Path, samplings: Mapping[str, Any] = FAST) -> Path:
    """A copy, with its engines, that has these samplings too."""
    return with_manifest(package, target, lambda manifest: manifest["samplings"].update(samplings))
