"""Writing a package: whole in its place, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ..errors import InputError
from ..machine.files import write_folder
from .manifest import CERTIFICATE, GOLDEN, MANIFEST, Manifest


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse, before any work, a place where the package cannot go. Raises InputError."""
    if not os.path.lexists(output):
        parent = next(folder for folder in output.absolute().parents if folder.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise InputError(f"{output}: {parent} is not a folder that can be written; choose another -o.")
    elif not (output / MANIFEST).is_file():
        raise InputError(f"{output}: exists and is no package; nothing was touched. Choose another -o.")
    elif not overwrite:
        raise InputError(f"{output}: a package is already there; give --overwrite to replace it, or another -o.")


@contextmanager
def package_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """An empty folder beside ``output`` to write a package into; it takes that name when the block ends.

    Where the block raises, the folder goes and ``output`` stays as it was. Raises InputError (a full disk too).
    """
    check_output(output, overwrite)
    place = Path(os.path.realpath(output))  # a symbolic link to a package stays one
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with write_folder(place, overwrite=overwrite) as work:
            yield work
    except OSError as error:
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
