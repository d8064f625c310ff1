"""How a photo is run within a memory budget: whole, in strips, or in strips with the loop on tiles.

``decide`` is the one place that decides. What the numbers stand for and how far they were measured is in
``docs/memory.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import InputError
from ..image import padded_size
from ..names import Kind
from .memory import show_size
from .strips import halo, smallest_strip

if TYPE_CHECKING:
    from ..package.manifest import Manifest
    from .traits import Traits

_CROSSOVER = 1.5  # attention's quadratic work over the rest of a step, up to which every key is seen
_STRIP = 8  # halos: a strip no higher than that costs a third more than its rows
_OVERLAP = 128  # pixels of the photo that neighbouring windows share
_SMALLEST_WINDOW = 256  # pixels of the photo, a side
_LARGE_WINDOWS = (15 / 16, 7 / 8, 3 / 4)  # of a side: two of these are twice the work, and see nearly the whole photo
_FILE = 17  # bytes a pixel and byte of depth, while a photo file is decoded or encoded: no engine runs then
_SMALLER = 0.75  # of what ran out of memory, for the next try
_MARGIN = 64 << 20  # allocators, conversions, and the interpreter's own growth


@dataclass(frozen=True)
class Plan:
    """How one photo (or batch) of a size is run, and what that is predicted to cost.

    width, height: of the photo, in pixels. depth: bytes a sample. kind: ``whole``; ``strips``: the loop whole, what
    comes before and after it in full-width strips, exact; ``tiles``: the loop on overlapping windows too, which changes
    the picture. strip_height: rows of the padded photo. window: (width, height) in pixels of the photo; overlap: that
    neighbours share at least; batch: windows (or photos) at once. key_stride: attention sees every so-many-th row and
    column of keys. lean: the denoiser in a form that is slower and takes less memory.
    flop: 2 x multiply-adds. stage_flop, stage_bytes: by stage, of one run (a denoiser step), scratch memory as
    predicted for the engine. photo_bytes: that the photo takes. peak_bytes: of the process. seconds: predicted, where
    a time was asked for.
    """

    width: int
    height: int
    depth: int
    kind: Kind
    steps: int
    strip_height: int
    window: tuple[int, int]
    overlap: int
    batch: int
    key_stride: int
    lean: bool
    flop: int
    photo_bytes: int
    peak_bytes: int
    budget_bytes: int | None
    stage_flop: Mapping[str, int] = field(compare=False)
    stage_bytes: Mapping[str, int] = field(compare=False)
    seconds: float | None = field(default=None, compare=False)

    def stage_seconds(self, speed: Mapping[str, float]) -> dict[str, float]:
        """Seconds a photo by stage, all steps, at ``speed`` FLOP a second (``denoiser`` and the ``rest``)."""
        return {
            stage: self.steps * flop / speed[stage] if stage == "denoiser" else flop / speed["rest"]
            for stage, flop in self.stage_flop.items()
        }

    def __str__(self) -> str:
        """One line for a person."""
        how = {
            "whole": "whole",
            "strips": f"in strips of {self.strip_height} rows",
            "tiles": f"in strips of {self.strip_height} rows and windows of {self.window[0]}x{self.window[1]} that "
            f"share {self.overlap} pixels",
        }[self.kind]
        keys = "" if self.key_stride == 1 else f", attention over every {_ordinal(self.key_stride)} row and column"
        lean = ", denoiser in its lean form" if self.lean else ""
        budget = "" if self.budget_bytes is None else f" of {show_size(self.budget_bytes)}"
        cost = f"{self.flop / 1e9:,.0f} GFLOP, {show_size(self.peak_bytes)}"
        return f"{self.width}x{self.height} {how}{keys}{lean}: {cost}{budget}"


def _ordinal(number: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")


def decide(
    manifest: Manifest,
    traits: Traits,
    height: int,
    width: int,
    *,
    base_bytes: int,
    budget: int | None,
    steps: int,
    batch: int = 1,
    depth: int = 1,
    beside: bool = False,
    kind: Kind | None = None,
    than: Plan | None = None,
) -> Plan:
    """The plan for a photo of ``height`` x ``width`` pixels, or a batch of them.

    base_bytes: of the process before the photo. budget: of the whole process, None: no limit. depth: bytes a sample,
    1 or 2. beside: the result's file holds the photo too, side by side. kind: this one and no other. than: the plan
    that ran out of memory; one behind it that takes clearly less, or the last of all. Raises InputError where nothing
    fits, with the smallest budget that does.
    """
    model = _Model(manifest, traits, height, width, base_bytes, steps, batch, depth, beside)
    plans = list(dict.fromkeys(replace(plan, budget_bytes=budget) for plan in model.plans(kind)))
    fitting = [plan for plan in plans if budget is None or plan.peak_bytes <= budget]
    if than is not None:

        def size(plan: Plan) -> int:
            return max(plan.stage_bytes.values()) if traits.device else plan.photo_bytes

        behind = fitting[fitting.index(than) + 1 :] if than in fitting else fitting
        behind = [plan for plan in behind if size(plan) <= size(than)]
        # few tries: a process without memory may end in a library that cannot even say so
        fitting = [plan for plan in behind if size(plan) <= _SMALLER * size(than)] or behind[-1:]
    if fitting:
        return fitting[0]
    smallest = min(plans, key=lambda plan: plan.peak_bytes)
    wanted = "" if kind is None else f" {kind}"
    raise InputError(
        f"a {width}x{height} photo{wanted} does not fit into {show_size(budget or 0)} of memory; the smallest budget "
        f"that it fits into here is {show_size(smallest.peak_bytes)}, of which {show_size(base_bytes)} are the process "
        "without a photo. Give more memory or resize the photo."
    )


class _Model:
    """The memory and work of one size."""

    def __init__(
        self,
        manifest: Manifest,
        traits: Traits,
        height: int,
        width: int,
        base_bytes: int,
        steps: int,
        batch: int,
        depth: int,
        beside: bool,
    ) -> None:
        self.manifest, self.traits, self.cost = manifest, traits, manifest.cost
        self.height, self.width = height, width
        self.rows, self.columns = (padded_size(side, manifest.pad_multiple) for side in (height, width))
        self.steps, self.batch, self.depth = steps, batch, depth
        self.hfrms = [f"hfrm{k}" for k in range(manifest.levels)]
        self.base = base_bytes + _MARGIN
        self.photos = 2 * 3 * depth * height * width  # a photo and its result
        self.files = (2 if beside else 1) * _FILE * depth * height * width

    def plans(self, kind: Kind | None) -> Iterator[Plan]:
        """From the one that is wanted most to the one that takes least."""
        # who asks for strips by name asks for the picture of the whole
        stride = self.key_stride(self.rows, self.columns) if self.traits.key_stride and kind is None else 1
        if kind == "whole" or (kind is None and stride == 1):
            yield self.whole()
        if kind in (None, "strips"):
            for lean in self.leans:
                for strip in self.strip_heights():
                    yield self.strips(strip, stride, lean)
        if kind in (None, "tiles"):
            for window in self.windows():
                for lean in self.leans:
                    yield self.tiles(self.strip_heights()[-1], *window, lean)

    def key_stride(self, rows: int, columns: int) -> int:
        flop = self.cost["denoiser"].flop
        quadratic, rest = flop.per_pixel_squared * rows * columns, flop.per_pixel * _CROSSOVER
        return max(1, math.ceil(math.sqrt(quadratic / rest))) if rest else 1

    def strip_heights(self) -> list[int]:
        """From the highest that is of use to the least one."""
        multiple, levels = self.manifest.pad_multiple, self.manifest.levels
        least = smallest_strip(levels, multiple)
        wanted = padded_size(_STRIP * halo(levels), multiple)
        heights = sorted({wanted, padded_size((wanted + least) // 2, multiple), least}, reverse=True)
        return sorted({min(height, self.rows) for height in heights}, reverse=True)

    def windows(self) -> Iterator[tuple[int, int, int]]:
        """(rows, columns, overlap) of windows that cover the photo evenly, from large to small: two that share most of
        it, then more that share little."""
        multiple = self.manifest.pad_multiple
        overlap = padded_size(_OVERLAP, multiple)
        least = padded_size(_SMALLEST_WINDOW, multiple)

        def side(size: int, count: int) -> int:
            return size if count == 1 else padded_size(math.ceil((size + (count - 1) * overlap) / count), multiple)

        def counts(size: int) -> Iterator[int]:
            count = 1
            while count == 1 or side(size, count) >= least:
                yield count
                count += 1 if count < 8 else count // 4

        def large(size: int) -> Iterator[int]:
            lengths = (padded_size(math.ceil(share * size), multiple) for share in _LARGE_WINDOWS)
            return (length for length in lengths if max(least, side(size, 2)) < length < size)

        sizes = [
            (side(self.rows, down), side(self.columns, across))
            for down in counts(self.rows)
            for across in counts(self.columns)
            if down * across > 1
        ]
        sizes += [(rows, self.columns) for rows in large(self.rows)]
        sizes += [(self.rows, columns) for columns in large(self.columns)]
        sizes = sizes or [(self.rows, self.columns)]
        # at one memory the squarer window is the better one: keep those that no other beats
        for rows, columns in sorted(sizes, key=lambda size: (-size[0] * size[1], abs(size[0] - size[1]))):
            if max(rows, columns) <= 2 * min(rows, columns) or min(self.rows, self.columns) < least:
                yield rows, columns, overlap

    @property
    def leans(self) -> tuple[bool, ...]:
        return (False,) if self.traits.live_low_memory is None else (False, True)

    def live(self, stage: str, rows: int, columns: int, lean: bool = False) -> int:
        factor, cost = self.traits.live_rest, self.cost[stage]
        if stage == "denoiser":
            factor = self.traits.live_low_memory if lean and self.traits.live_low_memory else self.traits.live
        live = factor * cost.live_bytes.at(rows, columns)
        if stage == "denoiser" and self.traits.live_plain:
            live += self.traits.live_plain * cost.plain_live_bytes.at(rows, columns)
        return round(live)

    def weights(self, key_stride: int, lean: bool) -> int:
        plain = key_stride == 1 and not lean
        return 0 if plain else round(self.traits.weights * self.cost["denoiser"].weight_bytes)

    def whole(self) -> Plan:
        batch, pixels = self.batch, self.rows * self.columns
        stages = {name: batch * self.live(name, self.rows, self.columns) for name in self.cost}
        flop = {name: batch * one.flop.at(self.rows, self.columns) for name, one in self.cost.items()}
        # between stages: the photo as a tensor twice, the result, the bands and the restored bands, x_t and the like
        between = round(batch * pixels * (12 + self.between()))
        peak = self.base + batch * self.photos + between + max(self.together(stages), 30 * batch * pixels)
        return self._plan("whole", self.rows, (self.columns, self.rows), 0, batch, 1, False, peak, stages, flop)

    def strips(self, strip: int, key_stride: int, lean: bool) -> Plan:
        stages, flop, buffers = self._strip_stages(strip)
        loop = self.live("denoiser", self.rows, self.columns, lean)
        flop["denoiser"] = self._denoiser_flop(self.rows, self.columns, key_stride)
        peak = self._peak(stages, buffers, self._band(8) + loop, self._band(7), key_stride, lean)
        stages["denoiser"] = loop
        return self._plan("strips", strip, (self.columns, self.rows), 0, 1, key_stride, lean, peak, stages, flop)

    def tiles(self, strip: int, rows: int, columns: int, overlap: int, lean: bool) -> Plan:
        key_stride = self.key_stride(rows, columns) if self.traits.key_stride else 1
        stages, flop, buffers = self._strip_stages(strip)
        loop = self.live("denoiser", rows, columns, lean)
        count = 1
        for size, length in ((self.rows, rows), (self.columns, columns)):
            count *= 1 if length >= size else 1 + -(-(size - length) // (length - overlap))
        flop["denoiser"] = count * self._denoiser_flop(rows, columns, key_stride)
        windows = 9 * rows * columns * 3 * 4 // 4**self.manifest.levels  # buffers and cuts
        windows += count * rows * columns * 4 // 4**self.manifest.levels  # weights
        peak = self._peak(stages, buffers, self._band(6) + windows + loop, self._band(3) + windows, key_stride, lean)
        stages["denoiser"] = loop
        return self._plan("tiles", strip, (columns, rows), overlap, 1, key_stride, lean, peak, stages, flop)

    def _peak(self, stages: Mapping[str, int], buffers: int, loop: int, kept: int, key_stride: int, lean: bool) -> int:
        """The loop's memory, or that of the strips beside what the loop keeps."""
        strip = 0 if self.traits.device else max(stages.values())
        if self.traits.keeps == "all":
            strip = sum(stages.values())
            loop += strip
            kept = loop
        most = max(0 if self.traits.device else loop, kept + buffers + strip)
        return self.base + self.weights(key_stride, lean) + self.batch * self.photos + most

    def between(self) -> float:
        """Bytes a padded pixel of the program's buffers, in float32."""
        bands = sum(9 * 0.25 ** (k + 1) for k in range(self.manifest.levels))
        return 24 + 8 * bands + 60 * 0.25**self.manifest.levels

    def _band(self, count: int) -> int:
        """Arrays of x_t's shape for the whole photo."""
        return round(count * 3 * 4 * self.rows * self.columns / float(4**self.manifest.levels))

    def together(self, stages: Mapping[str, int]) -> int:
        if self.traits.device:
            return 0
        return max(stages.values()) if self.traits.keeps == "nothing" else sum(stages.values())

    def _denoiser_flop(self, rows: int, columns: int, key_stride: int) -> int:
        flop = self.cost["denoiser"].flop
        return replace(flop, per_pixel_squared=flop.per_pixel_squared / key_stride**2).at(rows, columns)

    def _strip_stages(self, strip: int) -> tuple[dict[str, int], dict[str, int], int]:
        """Memory and work by stage, and bytes of the buffers."""
        names = [name for name in self.cost if name != "denoiser"]
        pixels = strip * self.columns
        stages = {name: self.live(name, strip, self.columns) for name in names}
        kept = strip if strip >= self.rows else strip - 2 * halo(self.manifest.levels)
        count = 1 if strip >= self.rows else -(-max(1, self.rows - 2 * halo(self.manifest.levels)) // kept)
        flop = {name: count * self.cost[name].flop.at(strip, self.columns) for name in names}
        return stages, flop, round(pixels * (24 + self.between()))

    def _plan(
        self,
        kind: Kind,
        strip: int,
        window: tuple[int, int],
        overlap: int,
        batch: int,
        key_stride: int,
        lean: bool,
        peak: int,
        stages: Mapping[str, int],
        flop: Mapping[str, int],
    ) -> Plan:
        photos = 1 if kind == "whole" else self.batch
        total = photos * sum(one * (self.steps if name == "denoiser" else 1) for name, one in flop.items())
        peak = max(peak, self.base + self.batch * self.files)
        return Plan(
            self.width, self.height, self.depth, kind, self.steps,
            strip, window, overlap, batch, key_stride, lean, total,
            peak - self.base, peak, None,
            dict(flop), dict(stages),
        )  # fmt: skip
