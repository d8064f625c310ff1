"""The results file: one JSON object a line, written whole and synced, never rewritten."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from runtime.engines.libraries import load
from runtime.errors import InputError, PackageError
from runtime.machine.durable import make_folder, sync, sync_folder
from runtime.machine.regular import read_regular
from runtime.names import PUBLISHED
from runtime.package.fields import read_json

from .schema import SCHEMA, check_record

Record = dict[str, Any]
_LIMIT = 256 << 20  # bytes of a file: a record has some thousand


def digest(content: object) -> str:
    """16 hex digits that stand for ``content``."""
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """Every whole record of a results file. Raises InputError; a torn last line is left out."""
    return _parse(Path(path), _read(Path(path)))[0]


class ResultsFile:
    """A results file that is open for appending, by one process alone: it holds the lock ``.NAME.lock`` beside it.

    ``records`` is what it holds. ``torn`` is the beginning of the last line that was cut short when a run was killed,
    or ""; that line is dropped from the file. Raises InputError when the file cannot be written, belongs to a run
    that goes on, or is no results file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = load("filelock", "python -m benchmarks").FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
        try:
            make_folder(path.parent)
            self._lock.acquire()
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(path, flags, 0o644)
            sync_folder(path.parent)
        except TimeoutError as error:
            raise InputError(f"{path}: another run writes to it; wait for it, or choose another -o.") from error
        except OSError as error:
            self._lock.release()
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another -o.") from error
        try:
            content = _read(path)
            self.records, end = _parse(path, content)
            self.torn = content[end:].decode(errors="replace")[:60]
            if self.torn:
                os.ftruncate(self._descriptor, end)
        except (InputError, OSError):
            self.close()
            raise

    def append(self, record: Record) -> None:
        """Add a record: on the disk when this returns."""
        line = json.dumps({"schema": SCHEMA, **record}, allow_nan=False) + "\n"
        content, end = line.encode(), os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(self._descriptor)
        except OSError as error:
            with suppress(OSError):  # a line is there whole or not at all
                os.ftruncate(self._descriptor, end)
            cure = "free some space and run again, it resumes"
            raise InputError(f"{self.path}: the record cannot be written ({error.strerror}); {cure}.") from error
        self.records.append(json.loads(line))

    def close(self) -> None:
        os.close(self._descriptor)
        self._lock.release()

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def check_same(path: Path, records: list[Record], machine: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse to add to records of another machine, of other library versions or of other settings: their numbers
    could not be compared. machine: of ``machine.fingerprint``. Raises InputError."""
    for record in records:
        for what, found, here in (
            ("machine", record["fingerprint"], machine),
            ("settings", record["settings"], settings),
        ):
            if found != here:
                names = sorted(name for name in {*found, *here} if found.get(name) != here.get(name))
                told = "; ".join(f"{name}: {found.get(name)!r} there, {here.get(name)!r} here" for name in names)
                other = "on another machine" if what == "machine" else "with other settings"
                cure = "choose another -o" if what == "machine" else "give the same options, or choose another -o"
                raise InputError(f"{path}: made {other} ({told}); {cure}.")


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _LIMIT, follow=True)[0]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the name.") from error


def _parse(path: Path, content: bytes) -> tuple[list[Record], int]:
    """(records, where the last whole line ends)."""
    records: list[Record] = []
    end = content.rfind(b"\n") + 1
    for number, line in enumerate(content[:end].splitlines(), 1):
        where = f"{path}: line {number} is no record of `python -m benchmarks`"
        try:
            fields = read_json(line, where, "choose another file, or delete that line")
            check_record(fields)
        except PackageError as error:
            raise InputError(str(error)) from error
        record = fields.whole()
        _fill_in(record)
        records.append(record)
    return records, end


def _fill_in(record: Record) -> None:
    """The fields that records of before samplings do not have: then ten steps of ddim were what every package
    published."""
    own = record["steps"] == 10 and record["sampler"] == "ddim"
    record.setdefault("sampling", PUBLISHED if own else None)
    record.setdefault("calls", record["steps"])
