"""Engines built on this machine, kept beside the package's graphs: ``PACKAGE/engines/<key>/``.

An engine is code of the machine that it was built on. So the key holds everything that makes one stale, an entry
appears whole or not at all, and one is taken only where this user's own build made it: its ``engine.json`` bears a
signature by a key outside of the package (``signing``), nobody else can write to it, and what is loaded are the bytes
that were hashed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import EngineError
from ..machine.files import write_folder
from .entry import ENTRY, Engine, digest_of, entry_text, read_entry
from .refusal import NotTaken, check_place, unreadable
from .signing import make_key

FOLDER = "engines"
_DIGEST = re.compile("[0-9a-f]{32}")
_MOST = 500  # entries that are looked at
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
        return digest_of(asdict(self))


class EngineCache:
    """The cache of one package. Only this user may be able to write it."""

    def __init__(self, package: Path) -> None:
        self.package, self.folder = package, package / FOLDER

    def find(self, key: EngineKey) -> Engine | None:
        """The entry for ``key``, every file checked, or None. Raises NotTaken, and EngineError for a damaged file."""
        path = self.folder / key.digest
        try:
            self.check(key.target)
            engine = read_entry(path)
            if not engine.intact:
                raise NotTaken(path, "built for something else than its name says (foreign)", "damaged")
        except FileNotFoundError:
            return None
        except NotTaken as error:
            raise error.with_cure(self.package, key.target) from error
        for name in engine.files:
            engine.read(name)
        return engine

    def check(self, target: str = "") -> None:
        """Raise NotTaken where the folder of all engines is not this user's alone, FileNotFoundError without one.
        target: of the engines that are wanted."""
        found = os.lstat(self.folder)
        try:
            if not stat.S_ISDIR(found.st_mode):
                raise NotTaken(self.folder, "a link or a file, and engines are kept in a folder of the package", "link")
            check_place(self.folder, found)
        except NotTaken as error:
            raise error.with_cure(self.package, target) from error

    def entries(self, stage: str = "", target: str = "") -> Iterator[Engine]:
        """The engines of one stage and target, or all, that this user built, unhashed, newest first."""
        return iter(self.look(stage, target)[0])

    def look(self, stage: str = "", target: str = "") -> tuple[list[Engine], list[NotTaken]]:
        """(``entries``, and what else is there and is not taken, which may not say its stage and target). One that a
        builder is replacing at this moment may be left out."""

        def wanted(one: str, other: str) -> bool:
            return one in ("", stage or one) and other in ("", target or other)

        taken: list[Engine] = []
        others: list[NotTaken] = []
        try:
            self.check()
            with os.scandir(self.folder) as found:
                names = list(islice((one.name for one in found if _DIGEST.fullmatch(one.name)), _MOST + 1))
        except FileNotFoundError:
            return [], []
        except NotTaken as error:
            return [], [error]
        except OSError as error:
            return [], [unreadable(self.folder, error)]
        if len(names) > _MOST:
            others.append(NotTaken(self.folder, f"more than {_MOST} engines; those beyond are left out", "damaged"))
        for path in self._newest_first(names[:_MOST]):
            try:
                engine = read_entry(path)
                if wanted(engine.key["stage"], engine.key["target"]):
                    taken.append(engine)
            except FileNotFoundError:
                continue
            except NotTaken as error:
                if wanted(error.stage, error.target):
                    others.append(error)
        return taken, others

    def _newest_first(self, names: list[str]) -> list[Path]:
        found = []
        for name in names:
            path, changed = self.folder / name, 0
            with suppress(OSError):
                changed = (path / ENTRY).stat(follow_symlinks=False).st_mtime_ns
            found.append((changed, path))
        return [path for _, path in sorted(found, reverse=True)]

    def store(self, key: EngineKey, files: Mapping[str, bytes], report: Mapping[str, Any]) -> Engine:
        """Put an engine into the cache, signed, whole or not at all; an entry of the same key is replaced. Raises
        EngineError when it cannot be written, or the key of this user not made."""
        path, signer = self.folder / key.digest, make_key()
        hashes = {name: (sha256(content).hexdigest(), len(content)) for name, content in files.items()}
        entry = entry_text(Engine(path, asdict(key), hashes, report), signer).encode()
        try:
            self.folder.mkdir(mode=0o755, exist_ok=True)
            with write_folder(path, overwrite=True, mode=0o755) as work:
                for name, content in {**files, ENTRY: entry}.items():
                    file = work / name
                    file.touch(mode=0o644)  # whatever the umask says: others cannot write to it
                    file.write_bytes(content)
        except OSError as error:
            cure = "free space or permissions, then run again"
            raise EngineError(f"{path}: the engine cannot be written ({error.strerror}); {cure}.") from error
        self.check()
        return read_entry(path)
