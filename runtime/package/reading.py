"""The model package: a directory with a manifest, one ONNX graph a stage, a golden sample and a certificate.

``docs/package.md`` is the format's description. A package may come from anywhere, so nothing in it is believed
before it is checked: file names are names and not paths, links are refused, every file is hashed before it is used.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import PackageError
from ..names import DTYPES, PRECISIONS
from .fields import Fields, show
from .guard import check_graph
from .manifest import (
    CERTIFICATE,
    FORMAT,
    FORMAT_VERSION,
    GOLDEN,
    IMAGE_RULES,
    MANIFEST,
    UPDATE_RULE,
    Manifest,
    Polynomial,
    Stage,
    StageCost,
    TensorSpec,
    stage_io,
)

_MANIFEST_LIMIT = 1 << 20
_FILE_LIMIT = 1 << 31
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_COEFFICIENT_LIMIT = 1e18
_SIZE = re.compile(r"batch|(?:height|width)(?:/[1-9][0-9]{0,2})?")


@dataclass(frozen=True)
class Package:
    """An opened package: the manifest is checked, the files are there; each is hashed when it is read."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Package:
        """Open the package in the directory ``path``. Raises PackageError; builds and downloads nothing."""
        path = Path(path)
        if not os.path.isdir(path):  # unlike Path.is_dir it never raises (name too long, no permission)
            what = "is a file" if os.path.lexists(path) else "does not exist"
            raise PackageError(f"{path}: {what}; a package is a directory made by `python -m export.build`.")
        manifest = _parse(path, _read(path, MANIFEST, _MANIFEST_LIMIT))
        for name, (_, size) in manifest.files.items():
            found = _regular_file(path, name).st_size
            if found != size:
                raise PackageError(
                    f"{path / name}: {found:,} bytes, the manifest says {size:,}; copy or build the package again."
                )
        return cls(path, manifest)

    def read(self, name: str) -> bytes:
        """The bytes of one listed file, hash checked. Raises PackageError."""
        digest, size = self.manifest.files[name]
        content = _read(self.path, name, size)
        if sha256(content).hexdigest() != digest:
            raise PackageError(
                f"{self.path / name}: its sha256 is not the manifest's ({digest[:12]}...): the file was changed or "
                "damaged; copy or build the package again."
            )
        return content

    def graph(self, stage: str) -> bytes:
        """The ONNX graph of a stage, hash checked and held against what a stranger's graph may hold
        (``guard.check_graph``): the only way to a graph. Raises PackageError."""
        file = self.manifest.stage(stage).file
        content = self.read(file)
        check_graph(content, str(self.path / file))
        return content

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
        raise PackageError(f"{folder / name}: missing ({error.strerror}); copy or build the package again.") from error
    if not stat.S_ISREG(found.st_mode):
        raise PackageError(f"{folder / name}: a link or no regular file; do not use this package.")
    return found


def _read(folder: Path, name: str, limit: int) -> bytes:
    _regular_file(folder, name)
    try:
        # O_NOFOLLOW: the name may have become a link since the check
        with os.fdopen(os.open(folder / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise PackageError(f"{folder / name}: cannot be read ({error.strerror}); check its permissions.") from error
    if len(content) > limit:
        raise PackageError(f"{folder / name}: larger than {limit:,} bytes; copy or build the package again.")
    return content


def _parse(path: Path, content: bytes) -> Manifest:
    """The manifest, every key and value checked. Raises PackageError."""
    where = path / MANIFEST

    def wrong(what: str) -> PackageError:
        return PackageError(f"{where}: {what}. Build the package again.")

    try:
        raw = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise wrong(f"not whole JSON ({' '.join(str(error).split())})") from error
    top = Fields(raw, str(where))
    if top.get("format", str) != FORMAT:
        raise PackageError(
            f"{where}: its format is {show(top.get('format', str))}, not {FORMAT!r}; no package of export.build."
        )
    version = top.get("format_version", int)
    if version != FORMAT_VERSION:
        raise PackageError(
            f"{where}: format version {show(version)}; this runtime reads {FORMAT_VERSION}. Update the runtime"
            f"{'' if version > FORMAT_VERSION else ' or build the package again'}."
        )
    image, schedule, costs = top.child("image"), top.child("schedule"), top.child("cost")
    for key, value in IMAGE_RULES.items():
        image.expect(key, value)
    schedule.expect("eta", 0.0)
    schedule.expect("update", UPDATE_RULE)
    levels = top.number("levels", 1, 3)
    total = schedule.number("num_train_timesteps", 1, 10_000)
    files: dict[str, tuple[str, int]] = {}
    for name, entry in top.children("files"):
        digest = entry.get("sha256", str)
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise wrong(f"the sha256 of {show(name)} is {show(digest)}")
        files[name] = (digest, entry.number("bytes", 0, _FILE_LIMIT))
        entry.finish()
    manifest = Manifest(
        precision=top.choice("precision", PRECISIONS),
        levels=levels,
        pad_multiple=image.number("pad_multiple", 2**levels, 1024),
        num_train_timesteps=total,
        num_inference_steps=schedule.number("num_inference_steps", 1, total),
        betas=schedule.floats("betas", total),
        alphas_cumprod=schedule.floats("alphas_cumprod", total),
        stages=tuple(_stage(entry) for entry in top.items("stages")),
        cost={},  # below, once the stages are known to be sound
        files=files,
        provenance=top.get("provenance", dict),
    )
    for fields in (image, schedule, top):
        fields.finish()
    if manifest.pad_multiple % 2**levels:
        raise wrong(f"'pad_multiple' is no multiple of {2**levels}")
    if total % manifest.num_inference_steps:
        raise wrong(f"'num_inference_steps' does not divide {total}")
    io = stage_io(levels)
    expected, found = tuple(io), tuple(stage.name for stage in manifest.stages)
    if found != expected:
        raise wrong(f"its stages are {show(found)}; with {levels} wavelet levels they are {expected}")
    for stage in manifest.stages:
        names = tuple(tuple(spec.name for spec in specs) for specs in (stage.inputs, stage.outputs))
        if names != io[stage.name]:
            raise wrong(f"stage {stage.name}: its inputs and outputs are {show(names)}; {io[stage.name]} wanted")
    for name in (*(stage.file for stage in manifest.stages), GOLDEN, CERTIFICATE):
        if name not in files:
            raise wrong(f"{show(name)} is used but not listed in 'files'")
    manifest = replace(manifest, cost={name: _cost(costs.child(name)) for name in expected})
    costs.finish()
    return manifest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different: with two of a name, two readers could see two manifests."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _stage(entry: Fields) -> Stage:
    stage = Stage(
        entry.get("name", str),
        entry.get("file", str),
        tuple(_tensor(tensor) for tensor in entry.items("inputs")),
        tuple(_tensor(tensor) for tensor in entry.items("outputs")),
    )
    entry.finish()
    return stage


def _cost(entry: Fields) -> StageCost:
    cost = StageCost(
        _polynomial(entry.child("flop")),
        _polynomial(entry.child("live_bytes")),
        _polynomial(entry.child("plain_live_bytes")),
        entry.number("weight_bytes", 0, _FILE_LIMIT),
    )
    entry.finish()
    return cost


def _polynomial(entry: Fields) -> Polynomial:
    keys = ("constant", "per_row", "per_pixel", "per_pixel_squared")
    found = Polynomial(*(entry.amount(key, _COEFFICIENT_LIMIT) for key in keys))
    entry.finish()
    return found


def _tensor(entry: Fields) -> TensorSpec:
    shape = entry.get("shape", list)
    for size in shape:
        if not (_SIZE.fullmatch(size) if isinstance(size, str) else type(size) is int and 0 < size < 1 << 16):
            raise PackageError(
                f"{entry.where}: 'shape' holds {show(size)}, no size such as 3, batch or height/4. Build it again."
            )
    spec = TensorSpec(entry.get("name", str), entry.choice("dtype", DTYPES), tuple(shape))
    entry.finish()
    return spec
