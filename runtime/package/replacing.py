"""What stands in a package's place: whether it may be replaced, and what of it the new package keeps.

A folder is a package of ours where its manifest says so. Only what the manifest lists, and the engines, are the
package's: anything else is somebody's, and then the folder stays as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..machine.regular import read_regular
from .fields import read_json
from .manifest import FORMAT, MANIFEST

ENGINES = "engines"
_ENTRY, _ENTRY_LIMIT = "engine.json", 1 << 22
_DIGEST = re.compile(r"[0-9a-f]{32}")
_OF_AN_ENGINE = re.compile(r"engine\.[a-z0-9]+|shifts\.npy|runtime\.cache")
_KEPT = re.compile(r"timing-[a-z-]+\.cache")
_OF_ALL = re.compile(r"\.lock|\.[0-9a-f]{32}\..+\.(?:part|old)|timing-[a-z-]+\.cache(?:\.lock)?")


def is_package(folder: Path) -> bool:
    """Whether the folder is a package of ours, of any version, damaged or not."""
    return _listed(folder) is not None


def foreign_files(folder: Path) -> list[str]:
    """What is in a package and not the package's, by its path in it; nothing else of the folder may be removed."""
    listed = _listed(folder) or set()
    found = []
    for name, mode in _entries(folder):
        if name == ENGINES and stat.S_ISDIR(mode):
            found += [f"{ENGINES}/{one}" for one in _foreign_engines(folder / ENGINES)]
        elif name not in listed or not stat.S_ISREG(mode):
            found.append(name)
    return found


def keep_engines(old: Path, new: Path) -> None:
    """Put the engines of ``old`` whose graphs are in ``new`` too beside them, byte for byte. ``old`` stays as it is.
    Raises OSError."""
    graphs = {str(one.get("sha256")) for one in _json(new / MANIFEST)["files"].values()}
    source, target = old / ENGINES, new / ENGINES
    if not source.is_dir() or source.is_symlink():
        return
    kept = [name for name, mode in _entries(source) if stat.S_ISDIR(mode) and _graph(source / name) in graphs]
    if not kept:
        return
    _same_folder(source, target)
    for name in kept:
        _same_folder(source / name, target / name)
        for file, _ in _entries(source / name):
            _same_file(source / name / file, target / name / file)
    for name, _ in _entries(source):
        if _KEPT.fullmatch(name):
            _same_file(source / name, target / name)


def _listed(folder: Path) -> set[str] | None:
    """The manifest and the files that it lists; None where it is no manifest of ours."""
    try:
        raw = _json(folder / MANIFEST)
        return {MANIFEST, *raw["files"]} if raw["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _foreign_engines(folder: Path) -> list[str]:
    found = []
    for name, mode in _entries(folder):
        if _DIGEST.fullmatch(name) and stat.S_ISDIR(mode):
            own = [one for one, kind in _entries(folder / name) if stat.S_ISREG(kind) and _OF_AN_ENGINE.fullmatch(one)]
            found += [f"{name}/{one}" for one, _ in _entries(folder / name) if one not in own]
        elif not _OF_ALL.fullmatch(name):
            found.append(name)
    return found


def _graph(engine: Path) -> str | None:
    """The sha256 of the graph that an engine says it was built from."""
    try:
        return str(_json(engine / _ENTRY)["key"]["graph_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _json(path: Path) -> dict[str, Any]:
    """An object in a regular file of no unreasonable size. Raises OSError, or PackageError for anything else."""
    return read_json(read_regular(path, _ENTRY_LIMIT)[0], str(path)).whole()


def _entries(folder: Path) -> Iterator[tuple[str, int]]:
    """(name, mode) of all in a folder, in order, links themselves. Raises OSError."""
    for name in sorted(os.listdir(folder)):
        yield name, os.lstat(folder / name).st_mode


def _same_folder(source: Path, target: Path) -> None:
    target.mkdir()
    target.chmod(stat.S_IMODE(source.stat().st_mode))


def _same_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):  # a disk without hard links, or somebody else's file
        shutil.copy2(source, target, follow_symlinks=False)
