"""One engine of the cache as it was read from ``engine.json``: every key of its type, signed by this user's key."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import EngineError, PackageError
from ..machine.regular import read_regular
from ..package.fields import read_json, show
from .refusal import NotTaken, build_command, check_place, unreadable, unusable_key
from .signing import SigningKey, UnusableKey, key_path, read_key

ENTRY = "engine.json"
_LIMIT = 1 << 16  # bytes of an engine.json; a build writes about 2 kB
_LARGEST = 1 << 40  # bytes of a file, or another number of a report
_PURPOSE = "engine.json"
_HASH = re.compile("[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Engine:
    """One entry of the cache, built by this user."""

    path: Path
    key: Mapping[str, Any]
    """The fields of an ``EngineKey``."""
    files: Mapping[str, tuple[str, int]]
    """Name -> (sha256, bytes)."""
    report: Mapping[str, Any]
    """What the build took, and what the engine needs."""

    def read(self, name: str) -> bytes:
        """The bytes of one file, hash checked: what runs is these bytes and not the file, which may be another by then.
        Raises EngineError with the command that builds it again."""
        if name not in self.files:
            raise self.failure(f"not an engine of {self.key['target']} (no {name})")
        digest, size = self.files[name]
        try:
            content, found = read_regular(self.path / name, size)
            check_place(self.path / name, found)
        except PermissionError as error:
            raise unreadable(self.path / name, error).with_cure(self.path.parent.parent, self.key["target"]) from error
        except OSError as error:
            raise self.failure(f"{error.strerror}; foreign, or cannot be read", name) from error
        if len(content) != size or sha256(content).hexdigest() != digest:
            facts = f"{len(content):,} bytes that are not the {size:,} that were built"
            raise self.failure(f"{facts} (truncated, or a foreign engine)", name)
        return content

    @property
    def intact(self) -> bool:
        """Whether the key is the one that the folder was named after."""
        return self.path.name == digest_of(self.key)

    @property
    def rebuild(self) -> str:
        """The sentence that says how to build it again."""
        return f"Build it again: `{self.command} --rebuild`."

    @property
    def command(self) -> str:
        """The command line that built it, for the package where it lies now."""
        package, recorded = self.path.parent.parent, shlex.split(self.report.get("command", ""))
        if recorded[:3] != ["python", "-m", "export.engine"] or len(recorded) < 4:
            return build_command(package, self.key["target"])
        return shlex.join([*recorded[:3], str(package), *recorded[4:]])

    def failure(self, reason: str, file: str = "") -> EngineError:
        """The error for an engine, or one file of it, that cannot be used; it ends with ``rebuild``."""
        return EngineError(f"{self.path / file}: {reason}. {self.rebuild}")


def digest_of(key: Mapping[str, Any]) -> str:
    """The name of the folder of an engine with this key."""
    return sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def read_entry(path: Path) -> Engine:
    """The engine in the folder ``path``; its files are not hashed yet. Raises NotTaken, FileNotFoundError where the
    folder is gone."""
    check_place(path, os.lstat(path))
    place = path / ENTRY
    try:
        content, found = read_regular(place, _LIMIT)
    except OSError as error:
        os.lstat(path)  # a builder may have renamed it away just now
        raise unreadable(place, error) from error
    check_place(place, found)
    try:
        engine, signature = _parsed(content, path)
    except PackageError as error:
        raise NotTaken(place, f"damaged ({str(error).rstrip('.')})", "damaged") from error
    try:
        _check_signature(engine, signature)
        for name in engine.files:
            with suppress(FileNotFoundError):  # told when it is read
                check_place(path / name, os.lstat(path / name))
    except NotTaken as error:
        error.stage, error.target = engine.key["stage"], engine.key["target"]
        raise
    return engine


def entry_text(engine: Engine, signer: SigningKey) -> str:
    """The engine.json of an engine, signed."""
    files = {name: {"sha256": digest, "bytes": size} for name, (digest, size) in engine.files.items()}
    signature = {"key": signer.name, "hmac_sha256": signer.signature(_PURPOSE, _signed(engine))}
    content = {"key": dict(engine.key), "files": files, "report": dict(engine.report), "signature": signature}
    return json.dumps(content, indent=1) + "\n"


def _signed(engine: Engine) -> bytes:
    return json.dumps([dict(engine.key), dict(engine.files), dict(engine.report)], sort_keys=True).encode()


def _check_signature(engine: Engine, signature: tuple[str, str] | None) -> None:
    place = engine.path / ENTRY
    try:
        signer = read_key()
    except UnusableKey as error:
        raise unusable_key(place, error) from error
    if signature is None:
        raise NotTaken(place, "not signed: an older version of this project built it, or a stranger", "foreign")
    name, hmac = signature
    if signer is None:
        raise NotTaken(place, f"built elsewhere or by another user: this user has no key yet ({key_path()})", "foreign")
    if name != signer.name:
        raise NotTaken(place, f"built elsewhere or by another user: its signature is not by {signer.path}", "foreign")
    if not signer.signed(_PURPOSE, _signed(engine), hmac):
        raise NotTaken(place, "its engine.json was changed after the build", "foreign")


def _parsed(content: bytes, path: Path) -> tuple[Engine, tuple[str, str] | None]:
    """The engine, and the name of its key with the signature. Raises PackageError."""
    with read_json(content, ENTRY, "build the engine again") as top:
        with top.child("key") as entry:
            key = {
                "stage": entry.get("stage", str, _NAME.fullmatch, "a stage's name"),
                "graph_sha256": entry.get("graph_sha256", str, _NAME.fullmatch, "a hash"),
                "target": entry.get("target", str, _NAME.fullmatch, "a target's name"),
                "environment": entry.get("environment", dict),
                "profile": entry.get("profile", dict, _is_profile, "three shapes an input"),
                "flags": entry.get("flags", dict),
            }
        files = {
            name: (file.get("sha256", str, _HASH.fullmatch, "64 hexadecimal digits"), file.number("bytes", 0, _LARGEST))
            for name, file in top.children("files")
        }
        if odd := [name for name in files if not _NAME.fullmatch(name)]:
            raise top.wrong(f"the file name {show(odd[0])} is no plain name")
        report = top.get("report", dict, _is_report, "a report of numbers and the command")
        signature = None
        if top.has("signature"):
            with top.child("signature") as part:
                hmac = part.get("hmac_sha256", str, _HASH.fullmatch, "64 hexadecimal digits")
                signature = part.get("key", str, _NAME.fullmatch, "the name of a key"), hmac
    return Engine(path, key, files, report), signature


def _is_profile(profile: dict[str, Any]) -> bool:
    def is_shape(shape: Any) -> bool:
        return isinstance(shape, list) and all(type(size) is int and 0 < size < 1 << 32 for size in shape)

    def is_range(shapes: Any) -> bool:
        return isinstance(shapes, list) and len(shapes) == 3 and all(map(is_shape, shapes))

    return all(is_range(shapes) and len({len(shape) for shape in shapes}) == 1 for shapes in profile.values())


def _is_report(report: dict[str, Any]) -> bool:
    numbers = (value for name, value in report.items() if name != "command")
    command = report.get("command", "")
    try:
        words = shlex.split(command) if isinstance(command, str) else None
    except ValueError:
        return False
    sound = (value is None or (type(value) in (int, float) and 0 <= value <= _LARGEST) for value in numbers)
    return words is not None and all(sound)
