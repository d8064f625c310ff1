"""Writing a package: whole in its place, or not there at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ..errors import InputError
from ..machine.durable import make_folder
from ..machine.files import write_folder
from ..machine.leftovers import tidy
from .fields import show
from .manifest import CERTIFICATE, GOLDEN, MANIFEST, Manifest
from .replacing import foreign_files, is_package, keep_engines

_NAMED = 3
"""Files that a refusal names."""


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse, before any work, a place where the package cannot go. Raises InputError.

    What is there is replaced where ``overwrite`` says so and it is a package of ours that holds nothing else.
    """
    place = Path(os.path.realpath(output))
    tidy(place.parent)
    parent = next(folder for folder in place.parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{output}: {parent} is not a folder that can be written; choose another -o.")
    if not os.path.lexists(output):
        return
    if not is_package(place):
        raise InputError(f"{output}: exists and is no package; nothing was touched. Choose another -o.")
    if not overwrite:
        raise InputError(f"{output}: a package is already there; give --overwrite to replace it, or another -o.")
    foreign = foreign_files(place)
    if foreign:
        named = ", ".join(show(name) for name in foreign[:_NAMED])
        named += f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        cure = "nothing was touched. Move what you want to keep elsewhere, delete the rest, or choose another -o"
        raise InputError(f"{output}: this package's folder holds what is not the package's ({named}); {cure}.")


@contextmanager
def package_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """An empty folder beside ``output`` to write a package into; it takes that name when the block ends. Engines of a
    package that it replaces stay where the new one has the same graph.

    Where the block raises, the folder goes and ``output`` stays as it was. Raises InputError (a full disk too).
    """
    check_output(output, overwrite)
    place = Path(os.path.realpath(output))  # a symbolic link to a package stays one
    try:
        make_folder(place.parent)
        with write_folder(place, overwrite=overwrite) as work:
            yield work
            if overwrite and os.path.lexists(place):
                check_output(output, overwrite)  # building takes minutes: what is there may be something else by now
                keep_engines(place, work)
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno == errno.ENOTEMPTY:
            told = f"{output}: a package or something else appeared there while this one was made, and was kept"
            raise InputError(f"{told}; run again with another -o, or with --overwrite.") from error
        reason = error.strerror or error
        raise InputError(f"{output}: cannot write the package ({reason}); free space or choose another -o.") from error


def write_manifest(folder: Path, manifest: Manifest, more: Iterable[str] = ()) -> None:
    """Write the manifest of a package whose other files are in ``folder``; their hashes and sizes are filled in.

    more: files beside the graphs, the golden sample and the certificate.
    """
    files = {}
    for name in (*(stage.file for stage in manifest.stages), GOLDEN, CERTIFICATE, *more):
        content = (folder / name).read_bytes()
        files[name] = (sha256(content).hexdigest(), len(content))
    (folder / MANIFEST).write_bytes(replace(manifest, files=files).to_json().encode())
