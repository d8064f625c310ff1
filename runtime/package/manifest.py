"""What a package's manifest says: stages and their tensors, the noise schedule, costs, files. The format is described
in ``docs/package.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..names import DType, Precision

FORMAT = "diffll-package"
FORMAT_VERSION = 2
MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
CERTIFICATE = "certificate.json"


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
        found = {}
        for size, number in zip(self.shape, shape, strict=True):
            if isinstance(size, str):
                symbol, divisor = size_term(size)
                found[symbol] = number * divisor
        return found


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
    """Of the paper's sampling."""
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
