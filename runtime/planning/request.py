"""What is asked of planning, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import InputError
from ..names import LOOP, Kind
from .memory import show_size

MARGIN_BYTES = 64 << 20
"""Allocators, conversions, and the interpreter's own growth."""
FILE_BYTES = 17
"""Bytes a pixel and byte of depth, while a photo file is decoded or encoded: no engine runs then."""


@dataclass(frozen=True)
class Request:
    """A photo, or a batch of photos of one size, and how it is to be run."""

    height: int
    """Of a photo, in pixels."""
    width: int
    steps: int
    """Calls of the denoiser."""
    batch: int = 1
    """Photos of one call."""
    depth: int = 1
    """Bytes a sample: 1 or 2."""
    kind: Kind | None = None
    """This one and no other; None: the first that fits."""
    reserve_bytes: int = 0
    """Kept free beside the photos, such as for other photos that are in memory meanwhile."""


@dataclass(frozen=True)
class Memory:
    """What the process has and may take."""

    base_bytes: int
    """Of the process without a photo."""
    budget_bytes: int | None
    """Of the whole process; None: no limit."""
    tiles: bool = True
    """Whether tiles, which change the picture, may be chosen without being asked for by kind."""


@dataclass(frozen=True)
class Plan:
    """How photos of one size are run, and what that is predicted to cost."""

    width: int
    """Of a photo, in pixels."""
    height: int
    depth: int
    """Bytes a sample."""
    kind: Kind
    """``whole``; ``strips``: what comes before and after the loop in full-width strips, exact; ``tiles``: the loop on
    overlapping windows too, which changes the picture."""
    steps: int
    strip_height: int
    """Rows of the padded photo."""
    window: tuple[int, int]
    """Width and height in pixels of the photo."""
    overlap: int
    """Pixels that neighbouring windows share at least."""
    batch: int
    """Photos of one call."""
    key_stride: int
    """Attention sees every so-many-th row and column of keys."""
    low_memory: bool
    """The denoiser in a form that is slower and takes less memory."""
    flop: int
    """Of all photos: 2 x multiply-adds."""
    photo_bytes: int
    """What the photos take beside the process."""
    peak_bytes: int
    """Of the process."""
    budget_bytes: int | None
    stage_flop: Mapping[str, int] = field(compare=False)
    """By stage, of one run (a denoiser step)."""
    stage_bytes: Mapping[str, int] = field(compare=False)
    """Scratch memory by stage, as predicted for the engine."""

    def stage_seconds(self, speed: Mapping[str, float]) -> dict[str, float]:
        """Seconds a photo by stage, all steps, at ``speed`` FLOP a second (``denoiser`` and the ``rest``)."""
        return {
            stage: self.steps * flop / speed[LOOP] if stage == LOOP else flop / speed["rest"]
            for stage, flop in self.stage_flop.items()
        }

    def check_request(self, request: Request) -> None:
        """Raise InputError where the plan is not for photos of this size, number and depth."""
        if (self.height, self.width) != (request.height, request.width):
            raise InputError(
                f"the plan is for a {self.width}x{self.height} photo, this one is {request.width}x{request.height}."
            )
        if self.depth != request.depth or (self.kind == "whole" and self.batch != request.batch):
            raise InputError(
                f"the plan is for {self.batch} photo(s) with {8 * self.depth} bits, given are {request.batch} with "
                f"{8 * request.depth}; ask for one with batch= and dtype=."
            )

    def __str__(self) -> str:
        """One line for a person."""
        how = {
            "whole": "whole",
            "strips": f"in strips of {self.strip_height} rows",
            "tiles": f"in strips of {self.strip_height} rows and windows of {self.window[0]}x{self.window[1]} that "
            f"share {self.overlap} pixels",
        }[self.kind]
        ordinal = {2: "2nd", 3: "3rd"}.get(self.key_stride, f"{self.key_stride}th")
        keys = "" if self.key_stride == 1 else f", attention over every {ordinal} row and column"
        form = ", denoiser in its low-memory form" if self.low_memory else ""
        budget = "" if self.budget_bytes is None else f" of {show_size(self.budget_bytes)}"
        cost = f"{self.flop / 1e9:,.0f} GFLOP, {show_size(self.peak_bytes)}"
        return f"{self.width}x{self.height} {how}{keys}{form}: {cost}{budget}"
