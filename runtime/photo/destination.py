"""Where a photo may be written: decided before any work is done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ..errors import InputError

SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".png": "PNG",
        ".tif": "TIFF",
        ".tiff": "TIFF",
        ".webp": "WEBP",
        ".bmp": "BMP",
    }
)
"""Lower-case suffix of a file name to the format that is written to it."""


def format_of(path: Path) -> str:
    """The format that the suffix of ``path`` asks for; InputError where it is not one of SUFFIXES."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        what = f"the suffix {path.suffix!r} is not known" if path.suffix else "its name has no suffix"
        raise InputError(f"cannot write {path}: {what}; use one of {', '.join(SUFFIXES)}") from None


def check_destination(path: str | os.PathLike[str], *, source: str | os.PathLike[str] | None, overwrite: bool) -> None:
    """Raise InputError where ``write_photo`` would refuse ``path``; writes nothing.

    Refused: an unknown suffix, a folder that is missing or not writable, a name that is taken
    (without ``overwrite``), the file of ``source`` itself under any name (without ``overwrite``).
    """
    path = Path(path)
    format_of(path)
    folder = path.parent
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"cannot write {path}: {folder} {what}; make the folder first")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give a file name in it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: no permission to write in {folder}; choose another folder")
    if overwrite or not os.path.lexists(path):
        return
    if source is not None and _same_file(path, source):
        raise InputError(
            f"cannot write {path}: it is the photo being read; choose another name or allow it (--overwrite)"
        )
    raise InputError(f"cannot write {path}: it exists already; choose another name or allow it (--overwrite)")


def _same_file(path: Path, source: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(path, source)
    except OSError:
        return False
