"""Which photos a command line means, and where each result goes: all mistakes are told before any work."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from .command import printable

PIPE = "-"


@dataclass(frozen=True)
class Item:
    """One photo and the place of its result."""

    source: Path
    target: Path
    root: Path
    """The folder that the results are counted from, and where the journal lies."""


@dataclass(frozen=True)
class Naming:
    """How a result's name is made from its photo's."""

    suffix: str = ""
    """Stands behind the stem, such as "_bright"."""
    format_suffix: str = ""
    """Takes the place of the file's suffix, such as ".png"; empty: it is kept."""

    def name(self, photo: Path) -> str:
        from ..photo import RAW_SUFFIXES, RESULT_OF_RAW

        own = RESULT_OF_RAW if photo.suffix.lower() in RAW_SUFFIXES else photo.suffix
        return photo.stem + self.suffix + (self.format_suffix or own)


@dataclass(frozen=True)
class Work:
    """What a command line asks for."""

    items: tuple[Item, ...]
    others: int = 0
    """Files in its folders that are no photos by their names."""
    folder: Path | None = field(default=None)
    """Where the results go; None: to one file, or in place."""


def plan_work(
    inputs: Sequence[str], output: str | None, naming: Naming, *, recursive: bool = False, in_place: bool = False
) -> Work:
    """The photos of ``inputs``, files and folders, and their places under ``output``. Makes nothing.

    Raises InputError: an input that is not there, a folder without photos or that cannot be read, results that would
    meet under one name or lie among the photos.
    """
    inputs = [one for text in inputs for one in _globbed(text)]
    folders = [Path(text) for text in inputs if os.path.isdir(text)]
    if in_place:
        return _in_place(inputs, recursive)
    assert output is not None
    target = Path(output)
    if len(inputs) == 1 and not folders and not target.is_dir() and not output.endswith(("/", "\\")):
        return Work((Item(Path(inputs[0]), target, target.parent),))
    if _is_file_name(target):
        what = f"{len(inputs)} photos" if len(inputs) > 1 else f"the photos of the folder {inputs[0]}"
        raise InputError(f"{output}: {what} cannot go into one file; give a folder.")
    for folder in folders:
        if _lies_in(target, folder):
            what = f"{target} lies in {folder}, and the next run would take its results for photos"
            raise InputError(f"{what}; choose an -o outside of it, or --in-place.")
    items, others = [], 0
    for text in inputs:
        photos, more = _photos(Path(text), recursive)
        others += more
        start = Path(text) if os.path.isdir(text) else Path(text).parent
        for photo in photos:
            place = target / photo.relative_to(start).parent / naming.name(photo)
            items.append(Item(photo, place, target))
    _check_collisions(items)
    _check_folder(target)
    return Work(tuple(items), others, target)


def _in_place(inputs: Sequence[str], recursive: bool) -> Work:
    from ..photo import RAW_SUFFIXES

    items, others = [], 0
    for text in inputs:
        photos, more = _photos(Path(text), recursive)
        others += more
        root = Path(text) if os.path.isdir(text) else Path(text).parent
        raws = [photo for photo in photos if photo.suffix.lower() in RAW_SUFFIXES]
        if raws:
            what = f"{raws[0]}: camera raw files are read, not written"
            raise InputError(f"{what}; give -o a folder in place of --in-place.")
        items += [Item(photo, photo, root) for photo in photos]
    return Work(tuple(items), others)


def _globbed(text: str) -> Iterator[str]:
    """Windows' shells hand patterns on; elsewhere one that arrives has matched nothing."""
    if os.path.lexists(text) or not any(mark in text for mark in "*?["):
        yield text
        return
    if sys.platform == "win32":
        import glob

        found = sorted(glob.glob(text))
        if found:
            yield from found
            return
    raise InputError(f"{text} matches no file; check the pattern and the folder.")


def _photos(path: Path, recursive: bool) -> tuple[list[Path], int]:
    """The photos of one input in the order of their names, and how many other files its folder holds."""
    from ..photo import RAW_SUFFIXES, SUFFIXES

    known = SUFFIXES.keys() | RAW_SUFFIXES
    if not path.is_dir():
        return [path], 0  # whether it can be read is told with the other photos' failures
    photos, others, below = [], 0, False
    for folder, folders, files in os.walk(path, onerror=_unreadable):
        below = below or bool(folders)
        folders[:] = sorted(one for one in folders if not one.startswith(".")) if recursive else []
        for name in sorted(files):
            if name.startswith("."):
                continue
            if os.path.splitext(name)[1].lower() in known:
                photos.append(Path(folder, name))
            else:
                others += 1
    if not photos:
        where = "; --recursive looks into the folders in it" if below and not recursive else ""
        held = f", only {others} other files" if others else ""
        raise InputError(f"{path}: no photo is in this folder{held}{where or '; check the name'}.")
    return photos, others


def _unreadable(error: OSError) -> None:
    raise InputError(f"cannot read the folder {error.filename}: {error.strerror}; check its permissions.") from error


def _is_file_name(target: Path) -> bool:
    from ..photo import SUFFIXES

    return target.suffix.lower() in SUFFIXES and not target.is_dir()


def _lies_in(place: Path, folder: Path) -> bool:
    inner, outer = Path(os.path.realpath(place)), Path(os.path.realpath(folder))
    return inner == outer or outer in inner.parents


def _check_collisions(items: Sequence[Item]) -> None:
    """Names that differ by case, or by how an accent is composed, are one on many disks."""
    names: dict[str, Item] = {}
    for item in items:
        key = unicodedata.normalize("NFC", str(item.target)).casefold()
        other = names.setdefault(key, item)
        if other is not item:
            raise InputError(f"{other.source} and {item.source} would both become {item.target}; use two folders.")


def _check_folder(target: Path) -> None:
    parent = next(folder for folder in (target, *target.absolute().parents) if os.path.lexists(folder))
    if not parent.is_dir():
        raise InputError(f"{target}: cannot make this folder ({parent} is no folder); choose another -o.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{target}: no permission to write in {parent}; choose another -o.")


def check_free(items: Sequence[Item]) -> None:
    """Raise InputError where results are there already."""
    there = [item.target for item in items if os.path.lexists(item.target)]
    if there:
        some = printable(", ".join(map(str, there[:3]))) + (", ..." if len(there) > 3 else "")
        count = f"{len(there)} of {len(items)} results are" if len(items) > 1 else "the result is"
        raise InputError(f"{count} there already ({some}); give --skip-existing to go on, or --overwrite.")
