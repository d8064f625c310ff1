"""The model package: a directory with a manifest, one ONNX graph a stage, a golden sample and a certificate.

``docs/package.md`` is the format's description. A package may come from anywhere, so nothing in it is believed
before it is checked: file names are names and not paths, links are refused, every file is hashed before it is used.
"""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PackageError
from .costs import check_costs
from .fields import show
from .guard import check_graph, check_stage
from .manifest import GOLDEN, MANIFEST, Manifest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MANIFEST_LIMIT = 1 << 20
_GOLDEN_LIMIT = 16 << 20  # bytes, unpacked: a small photo's
_GOLDEN = ("photo", "noise", "steps", "expected")
_AGAIN = "copy or build the package again."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Package:
    """An opened package: the manifest is checked, the files are there; each is hashed when it is read."""

    path: Path
    manifest: Manifest

    def __repr__(self) -> str:
        return f"<Package {self.path}: {self.manifest.summary}>"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Package:
        """Open the package in the directory ``path``. Raises PackageError; builds and downloads nothing."""
        path = Path(path)
        if not os.path.isdir(path):  # unlike Path.is_dir it never raises (name too long, no permission)
            what = "is a file" if os.path.lexists(path) else "does not exist"
            raise PackageError(f"{path}: {what}; a package is a directory made by `python -m export.build`.")
        manifest = Manifest.from_json(_read(path, MANIFEST, _MANIFEST_LIMIT), str(path / MANIFEST))
        check_costs(manifest, str(path / MANIFEST))
        for name, (_, size) in manifest.files.items():
            found = _regular_file(path, name).st_size
            if found != size:
                raise PackageError(f"{path / name}: {found:,} bytes, the manifest says {size:,}; {_AGAIN}")
        return cls(path, manifest)

    def read(self, name: str) -> bytes:
        """The bytes of one listed file, hash checked. Raises PackageError."""
        digest, size = self.manifest.files[name]
        content = _read(self.path, name, size)
        if sha256(content).hexdigest() != digest:
            facts = f"its sha256 is not the manifest's ({digest[:12]}...): the file was changed or damaged"
            raise PackageError(f"{self.path / name}: {facts}; {_AGAIN}")
        return content

    def graph(self, stage: str) -> bytes:
        """The ONNX graph of a stage, hash checked and held against what a stranger's graph may hold
        (``guard``): the only way to a graph. Raises PackageError."""
        described = self.manifest.stage(stage)
        content, where = self.read(described.file), str(self.path / described.file)
        check_graph(content, where)
        check_stage(content, where, described, self.manifest)
        return content

    def golden(self) -> dict[str, NDArray[Any]]:
        """The golden sample: a small photo (H, W, 3) uint8, noise (3, Hp/4, Wp/4) float32, steps, and expected,
        (H, W, 3) uint8, the picture that the PyTorch model makes of them. Raises PackageError."""
        import numpy as np  # not above: the doctor works without it, and a --help

        from ..image import array_text

        content = io.BytesIO(self.read(GOLDEN))
        try:
            with zipfile.ZipFile(content) as archive:
                entries = archive.infolist()
            if sorted(entry.filename for entry in entries) != sorted(f"{name}.npy" for name in _GOLDEN):
                raise ValueError(f"it has {len(entries)} entries and not {', '.join(_GOLDEN)}")
            if sum(entry.file_size for entry in entries) > _GOLDEN_LIMIT:
                raise ValueError("it is too large")
            if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
                raise ValueError("it is packed in a way that numpy does not write")
            with np.load(content, allow_pickle=False) as arrays:
                golden = {name: arrays[name] for name in _GOLDEN}
            photo, noise, steps, expected = golden.values()
            if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape != expected.shape:
                raise ValueError(f"photo {array_text(photo)}, expected {array_text(expected)}")
            if expected.dtype != np.uint8 or steps.dtype.kind != "i" or steps.shape != () or noise.dtype != np.float32:
                raise ValueError(", ".join(f"{name} {array_text(array)}" for name, array in golden.items()))
            if noise.shape != self.manifest.noise_shape(*photo.shape[:2]):
                raise ValueError(f"noise {array_text(noise)} for a photo of {photo.shape}")
            return golden
        except Exception as error:  # a stranger's zip: numpy and zipfile raise of many kinds
            raise PackageError(f"{self.path / GOLDEN}: no golden sample ({error}); build the package again.") from error

    @property
    def sha256(self) -> str:
        """Of the manifest, which holds the hash of every other file: the package's identity."""
        return sha256(_read(self.path, MANIFEST, _MANIFEST_LIMIT)).hexdigest()


def _regular_file(folder: Path, name: str) -> os.stat_result:
    if not _NAME.fullmatch(name):
        raise PackageError(f"{folder}: the file name {show(name)} is not a plain name; do not use this package.")
    try:
        found = os.lstat(folder / name)
    except OSError as error:
        raise PackageError(f"{folder / name}: missing ({error.strerror}); {_AGAIN}") from error
    if not stat.S_ISREG(found.st_mode):
        raise PackageError(f"{folder / name}: a link or no regular file; do not use this package.")
    return found


def _read(folder: Path, name: str, limit: int) -> bytes:
    _regular_file(folder, name)
    try:
        # the name may have become a link, or a pipe that nobody writes into, since the check
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with os.fdopen(os.open(folder / name, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PackageError(f"{folder / name}: no regular file; do not use this package.")
            content = file.read(limit + 1)
    except OSError as error:
        raise PackageError(f"{folder / name}: cannot be read ({error.strerror}); check its permissions.") from error
    if len(content) > limit:
        raise PackageError(f"{folder / name}: larger than {limit:,} bytes; {_AGAIN}")
    return content
