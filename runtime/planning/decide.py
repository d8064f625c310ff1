"""How a photo is run within a memory budget: whole, in strips, or in strips with the loop on tiles.

``Planner.decide`` is the one place that decides. What the numbers stand for and how far they were measured is in
``docs/memory.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from ..errors import InputError, OutOfMemoryError
from ..image import padded_size
from ..names import DTYPE_BYTES, LOOP, Kind
from ..package.manifest import Manifest
from .memory import show_size
from .request import FILE_BYTES, MARGIN_BYTES, Memory, Plan, Request
from .strips import halo, smallest_strip
from .traits import Traits
from .windows import count_windows, window_sizes

_CROSSOVER = 1.5  # attention's quadratic work over the rest of a step, up to which every key is seen
_STRIP = 8  # halos: a strip no higher than that costs a third more than its rows
_TENSOR = 12  # bytes a pixel of the host's copy of a photo as a tensor: three float32
_CONVERSIONS = 30  # bytes a pixel while the host makes a result of a tensor: no stage runs then
_SMALLER = 0.75  # of what ran out of memory, for the next try
_LOOP_TENSORS = ("x_cond", "x_t", "x_t", "x_next", "history", "history_next")  # one x_t is a start of zero


class Planner:
    """Plans for one package on one backend."""

    def __init__(self, manifest: Manifest, traits: Traits) -> None:
        self.manifest, self.traits = manifest, traits
        unit = manifest.pad_multiple
        size = {
            spec.name: math.prod(spec.resolve(1, unit, unit)) * DTYPE_BYTES[spec.dtype] / unit**2
            for stage in manifest.stages
            for spec in stage.tensors.values()
        }
        bands = [f"{name}{level}" for name in ("details", "restored") for level in range(manifest.levels)]
        self.loop_bytes = sum(size[name] for name in _LOOP_TENSORS)
        """Of the sampling loop's buffers, a padded pixel; so are the next two."""
        self.program_bytes = 2 * size["image"] + sum(size[name] for name in bands) + self.loop_bytes
        """Of all buffers of a photo that is run whole."""
        self.strip_bytes = self.program_bytes - self.loop_bytes + size["x_cond"] + size["x_0"]
        """Of the buffers of a strip."""

    def decide(self, request: Request, memory: Memory, *, after: Plan | None = None) -> Plan:
        """The first plan that fits. after: the plan that ran out of memory; a clearly smaller one is given.

        Raises InputError where nothing fits, with the smallest budget that does, and OutOfMemoryError where only tiles
        would, which nobody asked for.
        """
        budget = memory.budget_bytes

        def fitting() -> Iterator[Plan]:
            plans = _Candidates(self, request, memory).plans()
            return (plan for plan in plans if budget is None or plan.peak_bytes <= budget)

        found = next(fitting(), None) if after is None else self._behind(after, fitting())
        if found is not None:
            return found
        unasked = not memory.tiles and request.kind is None
        size, limit = f"{request.width}x{request.height} photo", show_size(budget or 0)
        if unasked and after is None:
            tiles = replace(memory, tiles=True)
            if any(plan.peak_bytes <= (budget or 0) for plan in _Candidates(self, request, tiles).plans()):
                raise OutOfMemoryError(
                    f"a {size} fits into {limit} of memory in tiles only, which change the picture; give a budget "
                    "(max_memory, --max-memory) or ask for tiles (kind='tiles', --plan tiles), or resize the photo."
                )
        plans = _Candidates(self, request, memory).plans()
        smallest = min(plans, key=lambda plan: plan.peak_bytes)
        raise InputError(
            f"a {size}{'' if request.kind is None else f' {request.kind}'} does not fit into {limit} of memory; the "
            f"smallest budget that it fits into here is {show_size(smallest.peak_bytes)}, of which "
            f"{show_size(memory.base_bytes)} are the process without a photo. Give more memory or resize the photo."
        )

    def _behind(self, after: Plan, fitting: Iterable[Plan]) -> Plan | None:
        """One behind ``after`` that takes clearly less, or the last of all."""

        def size(plan: Plan) -> int:
            return max(plan.stage_bytes.values()) if self.traits.device else plan.photo_bytes

        plans = list(fitting)
        behind = plans[plans.index(after) + 1 :] if after in plans else plans
        behind = [plan for plan in behind if size(plan) <= size(after) and plan != after]
        # few tries: a process without memory may end in a library that cannot even say so
        return next((plan for plan in behind if size(plan) <= _SMALLER * size(after)), behind[-1] if behind else None)


class _Load(NamedTuple):
    """What a kind of plan takes: work and scratch memory by stage, of one run, and the process's peak."""

    flop: Mapping[str, int]
    stages: Mapping[str, int]
    peak_bytes: int


class _Candidates:
    """The plans of one request, each made when it is asked for."""

    def __init__(self, planner: Planner, request: Request, memory: Memory) -> None:
        self.planner, self.request, self.memory = planner, request, memory
        self.manifest, self.traits, self.cost = planner.manifest, planner.traits, planner.manifest.cost
        self.rows = padded_size(request.height, self.manifest.pad_multiple)
        self.columns = padded_size(request.width, self.manifest.pad_multiple)
        self.scale = 4**self.manifest.levels  # pixels of a position of x_t
        self.base = memory.base_bytes + request.reserve_bytes + MARGIN_BYTES
        self.photos = request.batch * 2 * 3 * request.depth * request.height * request.width  # and their results
        self.files = request.batch * FILE_BYTES * request.depth * request.height * request.width

    def plans(self) -> Iterator[Plan]:
        """From the one that is wanted most to the one that takes least."""
        kind, low_memory = self.request.kind, (False, True)[: 1 if self.traits.live_low_memory is None else 2]
        # strips that were asked for must match the result of the whole photo, so they keep every key
        stride = self.key_stride(self.rows, self.columns) if kind is None else 1
        if kind == "whole" or (kind is None and stride == 1):
            yield self.whole()
        if kind in (None, "strips"):
            yield from (self.strips(strip, stride, low) for low in low_memory for strip in self.strip_heights())
        if kind == "tiles" or (kind is None and self.memory.tiles):
            for window in window_sizes(self.rows, self.columns, self.manifest.pad_multiple):
                yield from (self.tiles(self.strip_heights()[-1], *window, low) for low in low_memory)

    def key_stride(self, rows: int, columns: int) -> int:
        flop = self.cost[LOOP].flop
        quadratic, rest = flop.per_pixel_squared * rows * columns, flop.per_pixel * _CROSSOVER
        return max(1, math.ceil(math.sqrt(quadratic / rest))) if rest and self.traits.key_stride else 1

    def strip_heights(self) -> list[int]:
        """From the highest that is of use to the least one."""
        multiple, levels = self.manifest.pad_multiple, self.manifest.levels
        least = smallest_strip(levels, multiple)
        wanted = padded_size(_STRIP * halo(levels), multiple)
        heights = (wanted, padded_size((wanted + least) // 2, multiple), least)
        return sorted({min(height, self.rows) for height in heights}, reverse=True)

    def whole(self) -> Plan:
        batch, rows, columns = self.request.batch, self.rows, self.columns
        pixels = batch * rows * columns
        stages = {name: batch * self.live(name, rows, columns) for name in self.cost}
        together = sum(stages.values()) if self.traits.keeps != "nothing" else max(stages.values())
        most = max(0 if self.traits.device else together, _CONVERSIONS * pixels)
        peak = self.base + self.photos + round(pixels * (_TENSOR + self.planner.program_bytes)) + most
        flop = {name: batch * one.flop.at(rows, columns) for name, one in self.cost.items()}
        return self.plan("whole", rows, (columns, rows), 0, 1, False, _Load(flop, stages, peak))

    def strips(self, strip: int, key_stride: int, low_memory: bool) -> Plan:
        live = self.live(LOOP, self.rows, self.columns, low_memory)
        buffers = round(self.planner.loop_bytes * self.rows * self.columns)
        # the host's: x_cond, x_T and x_0; the last two while the picture is made
        loop, kept = buffers + self.host_arrays(3) + live, buffers + self.host_arrays(2)
        flop = self.loop_flop(self.rows, self.columns, key_stride)
        load = self.strip_load(strip, loop, kept, live, flop, key_stride > 1 or low_memory)
        return self.plan("strips", strip, (self.columns, self.rows), 0, key_stride, low_memory, load)

    def tiles(self, strip: int, rows: int, columns: int, overlap: int, low_memory: bool) -> Plan:
        key_stride = self.key_stride(rows, columns)
        live = self.live(LOOP, rows, columns, low_memory)
        count = count_windows(self.rows, rows, overlap) * count_windows(self.columns, columns, overlap)
        # three cuts and a result of a window, and the windows' weights
        windows = round(rows * columns * (self.planner.loop_bytes + (4 * _TENSOR + 4 * count) / self.scale))
        # the host's: x_cond, and of x_t and the history what was and what comes; x_T
        loop, kept = self.host_arrays(6) + windows + live, self.host_arrays(3) + windows
        flop = count * self.loop_flop(rows, columns, key_stride)
        load = self.strip_load(strip, loop, kept, live, flop, key_stride > 1 or low_memory)
        return self.plan("tiles", strip, (columns, rows), overlap, key_stride, low_memory, load)

    def strip_load(self, strip: int, loop: int, kept: int, live: int, loop_flop: int, second: bool) -> _Load:
        """loop: the memory of the loop, of which ``kept`` stays while strips run and ``live`` is the engine's scratch.
        second: whether the denoiser is loaded in a second form."""
        names = [name for name in self.cost if name != LOOP]
        stages = {name: self.live(name, strip, self.columns) for name in names}
        inside = strip if strip >= self.rows else strip - 2 * halo(self.manifest.levels)
        count = 1 if strip >= self.rows else -(-max(1, self.rows - 2 * halo(self.manifest.levels)) // inside)
        flop = {name: count * self.cost[name].flop.at(strip, self.columns) for name in names} | {LOOP: loop_flop}
        scratch = 0 if self.traits.device else max(stages.values())
        if self.traits.keeps == "all":
            scratch = sum(stages.values())
            kept = loop = loop + scratch
        buffers = round(strip * self.columns * (2 * _TENSOR + self.planner.strip_bytes))
        most = max(0 if self.traits.device else loop, kept + buffers + scratch)
        weights = round(self.traits.weights * self.cost[LOOP].weight_bytes) if second else 0
        return _Load(flop, stages | {LOOP: live}, self.base + weights + self.photos + most)

    def live(self, stage: str, rows: int, columns: int, low_memory: bool = False) -> int:
        """Scratch memory of a stage."""
        traits, cost = self.traits, self.cost[stage]
        if stage != LOOP:
            return round(traits.live_rest * cost.live_bytes.at(rows, columns))
        factor = traits.live_low_memory if low_memory and traits.live_low_memory else traits.live
        plain = traits.live_plain * cost.plain_live_bytes.at(rows, columns) if traits.live_plain else 0
        return round(factor * cost.live_bytes.at(rows, columns) + plain)

    def host_arrays(self, count: int) -> int:
        """Bytes of float32 arrays of x_t's shape for the whole photo."""
        return int(count * _TENSOR * self.rows * self.columns // self.scale)

    def loop_flop(self, rows: int, columns: int, key_stride: int) -> int:
        flop = self.cost[LOOP].flop
        return replace(flop, per_pixel_squared=flop.per_pixel_squared / key_stride**2).at(rows, columns)

    def plan(
        self, kind: Kind, strip: int, window: tuple[int, int], overlap: int, stride: int, low_memory: bool, load: _Load
    ) -> Plan:
        request = self.request
        photos = 1 if kind == "whole" else request.batch
        flop = photos * sum(one * (request.steps if name == LOOP else 1) for name, one in load.flop.items())
        peak = max(load.peak_bytes, self.base + self.files)
        return Plan(
            request.width, request.height, request.depth, kind, request.steps,
            strip, window, overlap, request.batch, stride, low_memory,
            flop, peak - self.base, peak, self.memory.budget_bytes,
            load.flop, load.stages,
        )  # fmt: skip
