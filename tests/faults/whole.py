"""Whether a photo or a package is whole: what the scripts in this folder ask after each fault."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from runtime.errors import PackageError
from runtime.package.reading import Package


def photo_is_whole(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
        return True
    except OSError:
        return False


def package_is(path: Path) -> str:
    """The identity of a whole package; empty where it is not one."""
    try:
        package = Package.open(path)
        for name in package.manifest.files:
            package.read(name)
        return package.sha256
    except PackageError:
        return ""


def other_package(source: Path, target: Path) -> Path:
    """A whole package like ``source`` with another identity: its provenance says so."""
    import json
    import shutil

    shutil.copytree(source, target, ignore=shutil.ignore_patterns("engines"))
    manifest = json.loads((target / "manifest.json").read_bytes())
    manifest["provenance"]["copy"] = "for a test"
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target
