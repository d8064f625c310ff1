"""What a folder of results was made from, so that a run that was ended goes on, and a changed photo is done again.

``.diffll-journal.jsonl`` lies beside the results: a line before each result gets its name (what it is made from and
its hash), and one after. So a kill between the two leaves either no result or one that its hash proves. The results
themselves could not tell: a BMP has no place for a note, and a photo's own metadata is its owner's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Literal

from ..errors import InputError, PackageError
from ..machine.leftovers import lock, unlock
from ..machine.regular import read_regular
from ..package.fields import read_json
from .folder import output_folder

NAME = ".diffll-journal.jsonl"
_LIMIT = 1 << 30  # bytes of a journal: a result has some hundred
Verdict = Literal["do", "done", "there", "again"]
"""No result is there; it is there and is what would be made; it is there and not known, or was changed since; it is
there as it was made, from another photo or with other settings."""


@dataclass(frozen=True)
class Entry:
    """A result as it was made."""

    photo: tuple[int, int]
    """Size in bytes and time of change in nanoseconds of what it was made from."""
    settings: str
    sha256: str
    bytes: int
    done: bool = False
    """It has got its name."""


def identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _is_identity(values: list[Any]) -> bool:
    return len(values) == 2 and all(type(one) is int for one in values)


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Of all that a result depends on beside its photo."""
    return sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Journal:
    """The journal of one folder. One run at a time writes it. Raises InputError where it cannot be written."""

    def __init__(self, folder: Path, settings: str) -> None:
        self._folder, self._settings = folder, settings
        self._path = folder / NAME
        self._file: IO[str] | None = None
        self._lock: int | None = None
        self._entries = self._read()

    def _read(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        try:
            lines = read_regular(self._path, _LIMIT)[0].splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return entries
        except OSError as error:
            reason, cure = error.strerror, "remove it, and all photos are done again, or choose another -o"
            raise InputError(f"cannot read {self._path} ({reason}); {cure}.") from error
        for line in lines:
            try:
                with read_json(line, NAME) as one:
                    if one.has("done"):
                        name = one.get("done", str, entries.__contains__, "a result")
                        entries[name] = replace(entries[name], done=True)
                    else:
                        name = one.get("result", str)
                        size, changed = one.get("photo", list, _is_identity, "two whole numbers")
                        settings, digest = one.get("settings", str), one.get("sha256", str)
                        entries[name] = Entry((size, changed), settings, digest, one.get("bytes", int))
            except PackageError:
                continue  # the line that a kill cut off, or one of another version
        return entries

    def verdict(self, source: Path, target: Path) -> Verdict:
        """What is to be done for ``source``. Raises OSError where that cannot be read."""
        if not os.path.lexists(target):
            return "do"
        entry = self._entries.get(self._key(target))
        as_made = entry is not None and self._is_as_made(target, entry)
        if os.path.samefile(source, target):  # in place: a photo, or its result by now
            return "done" if as_made else "do"
        if entry is None or not as_made:
            return "there"
        same = entry.settings == self._settings and entry.photo == identity(source)
        return "done" if same else "again"

    @staticmethod
    def _is_as_made(target: Path, entry: Entry) -> bool:
        if not target.is_file() or target.stat().st_size != entry.bytes:
            return False
        return entry.done or sha256(target.read_bytes()).hexdigest() == entry.sha256

    def begin(self, photo: tuple[int, int], target: Path, content: bytes) -> None:
        """Before ``content`` gets its name. photo: the ``identity`` of the source when it was read."""
        digest = sha256(content).hexdigest()
        line = {"result": self._key(target), "photo": photo, "settings": self._settings, "sha256": digest}
        self._write(line | {"bytes": len(content)})

    def end(self, target: Path) -> None:
        """When it has it."""
        self._write({"done": self._key(target)})

    def _key(self, target: Path) -> str:
        return os.path.relpath(target, self._folder)

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            if self._file is None:
                output_folder(self._folder)
                self._file = self._path.open("a", encoding="utf-8", errors="surrogateescape")
                self._lock = lock(self._path)
                if self._file.tell():
                    self._file.write("\n")  # a kill may have cut the last line
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except BlockingIOError:
            raise InputError(f"{self._folder}: another run is writing into this folder; wait for its end.") from None
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot write {self._path} ({reason}); free space or choose another -o.") from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        unlock(self._lock)
