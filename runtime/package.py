"""The model package: a directory with a manifest, one ONNX graph a stage, a golden sample and a certificate.

``docs/package.md`` is the format's description. A package may come from anywhere, so nothing in it is believed
before it is checked: file names are names and not paths, links are refused, every file is hashed before it is used.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from .errors import PackageError
from .schema import Fields, show

FORMAT = "diffll-package"
FORMAT_VERSION = 2
MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
CERTIFICATE = "certificate.json"

Precision = Literal["fp32", "fp16", "bf16", "int8"]
DType = Literal["float32", "float16", "bfloat16", "int32"]

_MANIFEST_LIMIT = 1 << 20
_FILE_LIMIT = 1 << 31
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_COEFFICIENT_LIMIT = 1e18
_SIZE = re.compile(r"batch|(?:height|width)(?:/[1-9][0-9]{0,2})?")


@dataclass(frozen=True)
class TensorSpec:
    """One I/O tensor. shape: numbers, or ``batch``, ``height``, ``width`` (of the padded photo), ``height/4``, ..."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    def resolve(self, batch: int, height: int, width: int) -> tuple[int, ...]:
        """The shape in numbers for a batch of padded photos of ``height`` x ``width`` pixels."""
        sizes = {"batch": batch, "height": height, "width": width}
        resolved = []
        for size in self.shape:
            if isinstance(size, str):
                symbol, _, divisor = size.partition("/")
                size = sizes[symbol] // int(divisor or 1)
            resolved.append(size)
        return tuple(resolved)


@dataclass(frozen=True)
class Stage:
    """One graph: its file and I/O tensors in order."""

    name: str
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def tensors(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in (*self.inputs, *self.outputs)}


@dataclass(frozen=True)
class Polynomial:
    """constant + per_row*H + per_pixel*H*W + per_pixel_squared*(H*W)^2, for a padded photo of H x W pixels."""

    constant: float
    per_row: float
    per_pixel: float
    per_pixel_squared: float

    def at(self, height: int, width: int) -> int:
        """The value for one padded photo of this size in pixels, rounded."""
        pixels = height * width
        value = self.constant + self.per_row * height + self.per_pixel * pixels
        return round(value + self.per_pixel_squared * pixels**2)


@dataclass(frozen=True)
class StageCost:
    """What a stage costs for one padded photo.

    flop: 2 x multiply-adds of the network's convolutions and matrix products. live_bytes: the largest set of its
    graph's tensors that is needed at once, inputs and outputs included; plain_live_bytes: the same in an engine that
    makes all scores of an attention at once. weight_bytes: the graph's constants.
    """

    flop: Polynomial
    live_bytes: Polynomial
    plain_live_bytes: Polynomial
    weight_bytes: int


@dataclass(frozen=True)
class Manifest:
    """All that a program in any language needs to run the package. ``docs/package.md`` explains every field."""

    precision: Precision
    levels: int
    pad_multiple: int
    num_train_timesteps: int
    num_inference_steps: int
    betas: tuple[float, ...]
    alphas_cumprod: tuple[float, ...]
    stages: tuple[Stage, ...]
    cost: Mapping[str, StageCost]
    files: Mapping[str, tuple[str, int]]
    provenance: Mapping[str, Any]

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape of x_T for a photo of this size in pixels: (3, Hp/4, Wp/4) with two wavelet levels."""
        divisor, multiple = 2**self.levels, self.pad_multiple
        return 3, -(-height // multiple) * multiple // divisor, -(-width // multiple) * multiple // divisor

    def to_json(self) -> str:
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "precision": self.precision,
            "levels": self.levels,
            "image": {**IMAGE_RULES, "pad_multiple": self.pad_multiple},
            "schedule": {
                "num_train_timesteps": self.num_train_timesteps,
                "num_inference_steps": self.num_inference_steps,
                "eta": 0.0,
                "update": UPDATE_RULE,
                "betas": list(self.betas),
                "alphas_cumprod": list(self.alphas_cumprod),
            },
            "stages": [asdict(stage) for stage in self.stages],
            "cost": {name: asdict(cost) for name, cost in self.cost.items()},
            "files": {name: {"sha256": digest, "bytes": size} for name, (digest, size) in self.files.items()},
            "provenance": dict(self.provenance),
        }
        return json.dumps(content, indent=1) + "\n"


IMAGE_RULES = {
    "colour_order": "RGB",
    "layout": "NCHW",
    "range": [0.0, 1.0],
    "padding": "reflect, right and bottom",
    "rounding": "floor(maximum * value + 0.5)",
}
UPDATE_RULE = "x_next = c0*x_t + c1*eps + c2*history; history_next = c3*x_t + c4*eps"


def stage_io(levels: int) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The stages in running order, each with the names of its inputs and outputs: what the loop asks for."""
    details = tuple(f"details{level}" for level in range(levels))
    restored = tuple(f"restored{level}" for level in range(levels))
    return {
        "dwt": (("image",), ("x_cond", *details)),
        **{f"hfrm{level}": ((details[level],), (restored[level],)) for level in range(levels)},
        "denoiser": (("x_t", "x_cond", "history", "timestep", "coefficients"), ("x_next", "history_next")),
        "idwt": (("x_0", *restored), ("image",)),
    }


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
    try:
        raw = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise PackageError(
            f"{where}: not whole JSON ({' '.join(str(error).split())}); copy or build the package again."
        ) from error
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
            raise PackageError(f"{where}: the sha256 of {show(name)} is {show(digest)}; build it again.")
        files[name] = (digest, entry.number("bytes", 0, _FILE_LIMIT))
        entry.finish()
    manifest = Manifest(
        precision=top.choice("precision", get_args(Precision)),
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
        raise PackageError(f"{where}: 'pad_multiple' is no multiple of {2**levels}. Build the package again.")
    if total % manifest.num_inference_steps:
        raise PackageError(f"{where}: 'num_inference_steps' does not divide {total}. Build the package again.")
    io = stage_io(levels)
    expected, found = tuple(io), tuple(stage.name for stage in manifest.stages)
    if found != expected:
        raise PackageError(
            f"{where}: its stages are {show(found)}; with {levels} wavelet levels they are {expected}. Build it again."
        )
    for stage in manifest.stages:
        names = tuple(tuple(spec.name for spec in specs) for specs in (stage.inputs, stage.outputs))
        if names != io[stage.name]:
            raise PackageError(
                f"{where}: stage {stage.name}: its inputs and outputs are {show(names)}; {io[stage.name]} wanted. "
                "Build the package again."
            )
    for name in (*(stage.file for stage in manifest.stages), GOLDEN, CERTIFICATE):
        if name not in files:
            raise PackageError(f"{where}: {show(name)} is used but not listed in 'files'; build the package again.")
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
    spec = TensorSpec(entry.get("name", str), entry.choice("dtype", get_args(DType)), tuple(shape))
    entry.finish()
    return spec
