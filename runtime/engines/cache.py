"""Engines built on this machine, kept beside the package's graphs: ``PACKAGE/engines/<key>/``.

An engine is code of the machine that it was built on. So the key holds everything that makes one stale, an entry
appears whole or not at all, its files are hashed before they are loaded, and a cache that others can write is refused.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import EngineError
from ..machine.files import only_ours, write_folder

FOLDER = "engines"
_ENTRY = "engine.json"
# The files of an engine: TensorRT's and TensorRT-RTX's, OpenVINO's, onnxruntime's, and ncnn's three.
PLAN = "engine.plan"
BLOB = "engine.blob"
GRAPH = "engine.onnx"
PARAM, WEIGHTS, SHIFTS = "engine.param", "engine.bin", "shifts.npy"


@dataclass(frozen=True)
class EngineKey:
    """Everything that makes an engine stale."""

    stage: str
    graph_sha256: str
    """Of the ONNX file."""
    target: str
    environment: Mapping[str, Any]
    """Library and version, platform, and what else of the machine the target depends on (``fit.environment``)."""
    profile: Mapping[str, Any]
    """I/O tensor -> its smallest, usual and largest shape; empty: every size."""
    flags: Mapping[str, Any]
    """Every builder option."""

    @property
    def digest(self) -> str:
        return _digest(asdict(self))


def _digest(key: Mapping[str, Any]) -> str:
    return sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def build_command(package: Path, target: str) -> str:
    """The command line that builds the engines of a package."""
    return f"python -m export.engine {shlex.quote(str(package))} --target {target}"


@dataclass(frozen=True)
class Engine:
    """One entry of the cache."""

    path: Path
    key: Mapping[str, Any]
    """An ``EngineKey`` as it was read: nothing in it is checked."""
    files: Mapping[str, tuple[str, int]]
    """Name -> (sha256, bytes)."""
    report: Mapping[str, Any]
    """What the build took, and what the engine needs."""

    def read(self, name: str) -> bytes:
        """The bytes of one file, hash checked. Raises EngineError with the command that builds it again."""
        if name not in self.files:
            raise self.failure(f"not an engine of {self.key.get('target')} (no {name})")
        digest, size = self.files[name]
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise self.failure(f"cannot be read ({error.strerror})", name) from error
        if len(content) != size or sha256(content).hexdigest() != digest:
            found = f"{len(content):,} bytes that are not the {size:,} that were built"
            raise self.failure(f"{found} (truncated, or a foreign engine)", name)
        return content

    @property
    def intact(self) -> bool:
        """Whether the key is the one that the folder was named after."""
        return self.path.name == _digest(self.key)

    @property
    def rebuild(self) -> str:
        """The sentence that says how to build it again."""
        command = str(self.report.get("command", "")) or build_command(self.path.parent.parent, "TARGET")
        return f"Build it again: `{command} --rebuild`."

    def failure(self, reason: str, file: str = "") -> EngineError:
        """The error for an engine, or one file of it, that cannot be used; it ends with ``rebuild``."""
        return EngineError(f"{self.path / file}: {reason}. {self.rebuild}")


class EngineCache:
    """The cache of one package. Only this user may be able to write it."""

    def __init__(self, package: Path) -> None:
        self.folder = package / FOLDER

    def find(self, key: EngineKey) -> Engine | None:
        """The entry for ``key``, every file checked, or None. Raises EngineError when it is damaged or foreign."""
        path = self.folder / key.digest
        if not path.is_dir():
            return None
        engine = self._load(path)
        if not engine.intact:
            raise engine.failure("built for something else than its name says (foreign)")
        for name in engine.files:
            engine.read(name)
        return engine

    def entries(self, stage: str = "", target: str = "") -> Iterator[Engine]:
        """Every readable entry, or those of one stage and target, unhashed, newest first. Damaged ones are left out,
        and one that a builder is replacing at this moment may be."""
        found = []
        for path in self.folder.glob("[!.]*"):
            with suppress(OSError):
                found.append(((path / _ENTRY).stat().st_mtime_ns, path))
        for _, path in sorted(found, reverse=True):
            with suppress(EngineError):
                engine = self._load(path)
                if stage in ("", engine.key.get("stage")) and target in ("", engine.key.get("target")):
                    yield engine

    def _load(self, path: Path) -> Engine:
        unread = Engine(path, {}, {}, {})
        try:
            for place in (self.folder, path):
                if not only_ours(place.stat()):
                    cure = f"`chmod -R go-w {self.folder}` if you built it yourself, else delete it. {unread.rebuild}"
                    raise EngineError(f"{place}: others can write to it, and an engine is a program. {cure}")
            raw = json.loads((path / _ENTRY).read_bytes())
            files = {str(name): (str(one["sha256"]), int(one["bytes"])) for name, one in raw["files"].items()}
            key, report = dict(raw["key"]), dict(raw["report"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise unread.failure(f"damaged ({type(error).__name__})", _ENTRY) from error
        if any(Path(name).name != name or name in ("", ".", "..") for name in files):
            raise unread.failure("names a file outside its folder (foreign)", _ENTRY)
        return Engine(path, key, files, report)

    def store(self, key: EngineKey, files: Mapping[str, bytes], report: Mapping[str, Any]) -> Engine:
        """Put an engine into the cache, whole or not at all; an entry of the same key is replaced. Raises EngineError
        when it cannot be written."""
        path = self.folder / key.digest
        content = {
            "key": asdict(key),
            "files": {name: {"sha256": sha256(one).hexdigest(), "bytes": len(one)} for name, one in files.items()},
            "report": dict(report),
        }
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            with write_folder(path, overwrite=True, mode=0o700) as work:
                for name, one in files.items():
                    (work / name).write_bytes(one)
                (work / _ENTRY).write_text(json.dumps(content, indent=1) + "\n")
        except OSError as error:
            cure = "free space or permissions, then run again"
            raise EngineError(f"{path}: the engine cannot be written ({error.strerror}); {cure}.") from error
        return self._load(path)
