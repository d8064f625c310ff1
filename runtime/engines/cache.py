"""Engines built on this machine, kept beside the package's graphs: ``PACKAGE/engines/<key>/``.

An engine is code of the machine that it was built on. So the key holds everything that makes one stale, an entry
appears whole or not at all, its files are hashed before they are loaded, and a cache that others can write is refused.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import EngineError

FOLDER = "engines"
_ENTRY = "engine.json"


@dataclass(frozen=True)
class EngineKey:
    """Everything that makes an engine stale.

    graph_sha256: of the ONNX file. environment: library and version, GPU and compute capability, platform.
    profile: I/O tensor -> (min, opt, max) shapes. flags: every builder option.
    """

    stage: str
    graph_sha256: str
    target: str
    environment: Mapping[str, str]
    profile: Mapping[str, Any]
    flags: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return _digest(asdict(self))


def _digest(key: Mapping[str, Any]) -> str:
    return sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Engine:
    """One entry. files: name -> (sha256, bytes). report: what its build took and needs."""

    path: Path
    key: Mapping[str, Any]
    files: Mapping[str, tuple[str, int]]
    report: Mapping[str, Any]

    def read(self, name: str) -> bytes:
        """The bytes of one file, hash checked. Raises EngineError with the command that builds it again."""
        digest, size = self.files[name]
        path = self.path / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EngineError(f"{path}: cannot be read ({error.strerror}). {self.rebuild}") from error
        if len(content) != size or sha256(content).hexdigest() != digest:
            raise EngineError(
                f"{path}: {len(content):,} bytes that are not the {size:,} that were built (truncated, or a foreign "
                f"engine). {self.rebuild}"
            )
        return content

    @property
    def intact(self) -> bool:
        """Whether the key is the one that the folder was named after."""
        return self.path.name == _digest(self.key)

    @property
    def rebuild(self) -> str:
        """The sentence that says how to build it again."""
        return _rebuild(self.path, str(self.report.get("command", "")))


def _rebuild(entry: Path, command: str = "") -> str:
    package = entry.parent.parent
    command = command or f"python -m export.engine {package} --target TARGET"
    return f"Build it again: `{command} --rebuild`."


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
        if json.dumps(engine.key, sort_keys=True) != json.dumps(asdict(key), sort_keys=True):
            raise EngineError(f"{path}: built for something else than its name says (foreign). {engine.rebuild}")
        for name in engine.files:
            engine.read(name)
        return engine

    def entries(self) -> Iterator[Engine]:
        """Every readable entry, unhashed, newest first; damaged ones are left out."""
        folders = [path for path in self.folder.glob("[!.]*") if (path / _ENTRY).is_file()]
        for path in sorted(folders, key=lambda path: (path / _ENTRY).stat().st_mtime, reverse=True):
            with suppress(EngineError):
                yield self._load(path)

    def _load(self, path: Path) -> Engine:
        if os.name == "posix":
            for place in (self.folder, path):
                found = place.stat()
                if found.st_uid not in (os.getuid(), 0) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    raise EngineError(
                        f"{place}: others can write to it, and an engine is a program. "
                        f"`chmod -R go-w {self.folder}` if you built it yourself, else delete it. {_rebuild(path)}"
                    )
        try:
            raw = json.loads((path / _ENTRY).read_bytes())
            files = {str(name): (str(one["sha256"]), int(one["bytes"])) for name, one in raw["files"].items()}
            key, report = dict(raw["key"]), dict(raw["report"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise EngineError(f"{path / _ENTRY}: damaged ({type(error).__name__}). {_rebuild(path)}") from error
        if any(Path(name).name != name or name in ("", ".", "..") for name in files):
            raise EngineError(f"{path / _ENTRY}: names a file outside its folder (foreign). {_rebuild(path)}")
        return Engine(path, key, files, report)

    def store(self, key: EngineKey, files: Mapping[str, bytes], report: Mapping[str, Any]) -> Engine:
        """Put an engine into the cache, whole or not at all; an entry of the same key is replaced.

        Raises EngineError when it cannot be written.
        """
        path = self.folder / key.digest
        content = {
            "key": asdict(key),
            "files": {name: {"sha256": sha256(one).hexdigest(), "bytes": len(one)} for name, one in files.items()},
            "report": dict(report),
        }
        work = None
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder))  # mode 0700
            for name, one in files.items():
                (work / name).write_bytes(one)
            (work / _ENTRY).write_text(json.dumps(content, indent=1) + "\n")
            if path.exists():
                old = work.with_name(work.name.replace(".new-", ".old-"))
                os.rename(path, old)
                os.rename(work, path)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.rename(work, path)
        except OSError as error:
            raise EngineError(
                f"{path}: the engine cannot be written ({error.strerror}); free space or permissions, then run again."
            ) from error
        finally:
            if work is not None:
                shutil.rmtree(work, ignore_errors=True)
        return self._load(path)

    @contextmanager
    def lock(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the cache alone; a second builder waits, after ``waiting`` was called once. Ends with the process."""
        import fcntl  # engines are built on Linux

        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EngineError(
                f"{self.folder}: cannot be written ({error.strerror}); engines are kept beside the package, so copy "
                "the package to a folder of your own."
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
