"""What a package's manifest says: stages and their tensors, the noise schedule, costs, files. The format is described
in ``docs/package.md``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import PackageError
from ..names import DTYPES, PRECISIONS, PUBLISHED, DType, Precision
from .fields import Fields, read_json, show
from .sampling import Sampling, timesteps
from .samplings import samplings_from, samplings_json

MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
CERTIFICATE = "certificate.json"

FORMAT = "diffll-package"
FORMAT_VERSION = 3
_READ = (2, 3)  # packages of format 2 have the published sampling alone
_IMAGE_RULES = {
    "colour_order": "RGB",
    "layout": "NCHW",
    "range": [0.0, 1.0],
    "padding": "reflect, right and bottom",
    "rounding": "floor(maximum * value + 0.5)",
}
_UPDATE_RULE = "x_next = c0*x_t + c1*eps + c2*history; history_next = c3*x_t + c4*eps"
_FILE_LIMIT = 256 << 20  # bytes of all files: three times the official network in float32
_MOST_PADDING = 128  # three wavelet levels and five of the UNet; the official network has 32
_HALF: Mapping[str, DType] = {"fp16": "float16", "bf16": "bfloat16"}
_COEFFICIENT_LIMIT = 1e18
_SIZE = re.compile(r"batch|(?:height|width)(?:/[1-9][0-9]{0,2})?")


@dataclass(frozen=True)
class TensorSpec:
    """One I/O tensor of a stage."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]
    """Numbers, or ``batch``, ``height``, ``width`` (of the padded photo), ``height/4``, ..."""

    def resolve(self, batch: int, height: int, width: int) -> tuple[int, ...]:
        """The shape in numbers for a batch of padded photos of ``height`` x ``width`` pixels."""
        sizes = {"batch": batch, "height": height, "width": width}
        terms = (size_term(size) if isinstance(size, str) else ("", size) for size in self.shape)
        return tuple(sizes[symbol] // number if symbol else number for symbol, number in terms)

    def photo_size(self, shape: Sequence[int]) -> dict[str, int]:
        """The inverse of :meth:`resolve`: ``batch``, ``height`` and ``width`` of the padded photos that this tensor's
        ``shape`` in numbers comes from, as far as it depends on them."""
        sizes = zip(self.shape, shape, strict=True)
        terms = [(size_term(size), number) for size, number in sizes if isinstance(size, str)]
        return {symbol: number * divisor for (symbol, divisor), number in terms}


def size_term(size: str) -> tuple[str, int]:
    """A symbolic size as (symbol, divisor): "height/4" is ("height", 4), "batch" is ("batch", 1)."""
    symbol, _, divisor = size.partition("/")
    return symbol, int(divisor or 1)


@dataclass(frozen=True)
class Stage:
    """One graph: its file and its I/O tensors, in the graph's order."""

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
    """What a stage costs for one padded photo."""

    flop: Polynomial
    """2 x multiply-adds of the network's convolutions and matrix products."""
    live_bytes: Polynomial
    """The largest set of its graph's tensors that is needed at once, inputs and outputs included."""
    plain_live_bytes: Polynomial
    """The same in an engine that makes all scores of an attention at once."""
    weight_bytes: int
    """The graph's constants."""


@dataclass(frozen=True)
class Manifest:
    """All that a program in any language needs to run the package."""

    precision: Precision
    """Of the graphs; each tensor has its own dtype."""
    levels: int
    """K, wavelet levels and HFRMs, 1 to 3."""
    pad_multiple: int
    """Photos are padded to multiples of this, in pixels."""
    num_train_timesteps: int
    num_inference_steps: int
    """Of the published sampling."""
    betas: tuple[float, ...]
    alphas_cumprod: tuple[float, ...]
    stages: tuple[Stage, ...]
    """In running order."""
    cost: Mapping[str, StageCost]
    """By the stage's name."""
    files: Mapping[str, tuple[str, int]]
    """Name -> (sha256, bytes) of every file but the manifest."""
    provenance: Mapping[str, Any]
    """Checkpoint, architecture, licence, versions of the tools."""
    more_samplings: tuple[Sampling, ...] = ()
    """Those beside the published one."""

    def __repr__(self) -> str:
        return f"<Manifest: {self.summary}>"

    @property
    def summary(self) -> str:
        """What it is a package of, in a few words."""
        return f"{self.precision}, {self.levels} wavelet level(s), samplings {', '.join(self.samplings)}"

    @property
    def samplings(self) -> dict[str, Sampling]:
        """By name, the published one first."""
        steps = timesteps(self.num_train_timesteps, self.num_inference_steps)
        return {one.name: one for one in (Sampling(PUBLISHED, steps, "normal"), *self.more_samplings)}

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
            "image": {**_IMAGE_RULES, "pad_multiple": self.pad_multiple},
            "schedule": {
                "num_train_timesteps": self.num_train_timesteps,
                "num_inference_steps": self.num_inference_steps,
                "eta": 0.0,
                "update": _UPDATE_RULE,
                "betas": list(self.betas),
                "alphas_cumprod": list(self.alphas_cumprod),
            },
            "samplings": samplings_json(self.samplings.values()),
            "stages": [asdict(stage) for stage in self.stages],
            "cost": {name: asdict(cost) for name, cost in self.cost.items()},
            "files": {name: {"sha256": digest, "bytes": size} for name, (digest, size) in self.files.items()},
            "provenance": dict(self.provenance),
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, content: bytes, where: str) -> Manifest:
        """The manifest, every key and value checked. Raises PackageError; where: the file, for its message."""
        with read_json(content, where) as top:
            return _manifest(top)


def _manifest(top: Fields) -> Manifest:
    form, version = top.get("format", str), top.get("format_version", int)
    if form != FORMAT:
        raise PackageError(f"{top.where}: its format is {show(form)}, not {FORMAT!r}; no package of export.build.")
    if version not in _READ:
        cure = "Update the runtime" + ("." if version > FORMAT_VERSION else " or build the package again.")
        known = " and ".join(map(str, _READ))
        raise PackageError(f"{top.where}: format version {show(version)}; this runtime reads {known}. {cure}")
    levels = top.number("levels", 1, 3)
    with top.child("image") as image:
        for key, value in _IMAGE_RULES.items():
            image.expect(key, value)
        pad_multiple = image.number("pad_multiple", 2**levels, _MOST_PADDING)
        if pad_multiple & pad_multiple - 1:
            raise image.wrong(f"'pad_multiple' is {pad_multiple}, and {2**levels}, {2 * 2**levels} or so on is wanted")
    with top.child("schedule") as schedule:
        schedule.expect("eta", 0.0)
        schedule.expect("update", _UPDATE_RULE)
        total = schedule.number("num_train_timesteps", 1, 10_000)
        steps = schedule.number("num_inference_steps", 1, total)
        if total % steps:
            raise schedule.wrong(f"'num_inference_steps' does not divide {total}")
        betas, alphas_cumprod = (schedule.floats(key, total) for key in ("betas", "alphas_cumprod"))
    precision = top.choice("precision", PRECISIONS)
    stages, io = tuple(_stage(entry) for entry in top.items("stages")), _stage_io(levels)
    found, expected = tuple(stage.name for stage in stages), tuple(io)
    if found != expected:
        raise top.wrong(f"its stages are {show(found)}; with {levels} wavelet levels they are {expected}")
    for stage in stages:
        names = tuple(tuple(spec.name for spec in specs) for specs in (stage.inputs, stage.outputs))
        if names != io[stage.name]:
            raise top.wrong(f"stage {stage.name}: its inputs and outputs are {show(names)}; {io[stage.name]} wanted")
        for spec in stage.tensors.values():
            _check_tensor(top, stage.name, spec, levels, _HALF.get(precision))
    digest = re.compile("[0-9a-f]{64}").fullmatch
    files = {
        name: (entry.get("sha256", str, digest, "64 hexadecimal digits"), entry.number("bytes", 0, _FILE_LIMIT))
        for name, entry in top.children("files")
    }
    if (whole := sum(size for _, size in files.values())) > _FILE_LIMIT:
        raise top.wrong(f"'files' come to {whole:,} bytes, and no package has more than {_FILE_LIMIT:,}")
    for name in (*(stage.file for stage in stages), GOLDEN, CERTIFICATE):
        if name not in files:
            raise top.wrong(f"{show(name)} is used but not listed in 'files'")
    with top.child("cost") as costs:
        cost = {name: _cost(costs.child(name)) for name in io}
    provenance = top.get("provenance", dict)
    manifest = Manifest(
        precision, levels, pad_multiple, total, steps, betas, alphas_cumprod, stages, cost, files, provenance
    )
    if version == 2:
        return manifest
    return replace(manifest, more_samplings=samplings_from(top, total, manifest.samplings[PUBLISHED]))


def _stage_io(levels: int) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The stages in running order, each with the names of its inputs and outputs: what the loop asks for."""
    details = tuple(f"details{level}" for level in range(levels))
    restored = tuple(f"restored{level}" for level in range(levels))
    return {
        "dwt": (("image",), ("x_cond", *details)),
        **{f"hfrm{level}": ((details[level],), (restored[level],)) for level in range(levels)},
        "denoiser": (("x_t", "x_cond", "history", "timestep", "coefficients"), ("x_next", "history_next")),
        "idwt": (("x_0", *restored), ("image",)),
    }


def _check_tensor(top: Fields, stage: str, spec: TensorSpec, levels: int, half: DType | None) -> None:
    """Raise PackageError unless its shape is the one that a tensor of this name has, and its dtype may be one."""
    name = spec.name.rstrip("0123456789")
    bands = name in ("details", "restored")
    channels = 9 if bands else 3
    level = int(spec.name[len(name) :]) + 1 if bands else 0 if name == "image" else levels
    below = f"/{2**level}" if level else ""
    shape: tuple[int | str, ...] = ("batch", channels, f"height{below}", f"width{below}")
    shape = {"timestep": (1,), "coefficients": (5,)}.get(spec.name, shape)
    dtypes: set[DType | None] = {"int32"} if name == "timestep" else {"float32", None if name == "image" else half}
    if spec.shape != shape or spec.dtype not in dtypes:
        wanted = " or ".join(sorted(filter(None, dtypes)))
        raise top.wrong(
            f"stage {stage}: {spec.name} has the dtype {spec.dtype} and the shape {show(spec.shape)}; {wanted} and "
            f"{shape} are wanted"
        )


def _stage(entry: Fields) -> Stage:
    inputs, outputs = (tuple(_tensor(tensor) for tensor in entry.items(key)) for key in ("inputs", "outputs"))
    return Stage(entry.get("name", str), entry.get("file", str), inputs, outputs)


def _tensor(entry: Fields) -> TensorSpec:
    def sizes(shape: list[Any]) -> bool:
        return all(_SIZE.fullmatch(v) if isinstance(v, str) else type(v) is int and 0 < v < 1 << 16 for v in shape)

    shape = entry.get("shape", list, sizes, "a list of sizes such as 3, batch or height/4")
    return TensorSpec(entry.get("name", str), entry.choice("dtype", DTYPES), tuple(shape))


def _cost(entry: Fields) -> StageCost:
    with entry:
        flop, live, plain_live = (_polynomial(entry.child(key)) for key in ("flop", "live_bytes", "plain_live_bytes"))
        return StageCost(flop, live, plain_live, entry.number("weight_bytes", 0, _FILE_LIMIT))


def _polynomial(entry: Fields) -> Polynomial:
    with entry:
        return Polynomial(*(entry.amount(field.name, _COEFFICIENT_LIMIT) for field in fields(Polynomial)))
