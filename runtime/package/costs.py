"""Whether the costs that a manifest tells can be those of its graphs: plans believe them, and a photo is not to be
blamed for a number that nobody could have counted.

The bounds come from the sizes of the graphs and the shapes of their inputs and outputs. They are wide, as nobody looks
at what lies between the two: they tell a made-up number, and not a good count from a better one.
"""

from __future__ import annotations

import math

from ..errors import PackageError
from ..names import DTYPE_BYTES
from .fields import show
from .manifest import Manifest, Polynomial, Stage

_SIDES = ((1024, 1024), (8192, 8192))  # padded photos for which costs are compared: multiples of every padding
_NODES = 4 << 20  # bytes: what of a graph is no weight, at most
_SLACK = 1 << 20  # bytes: graphs that are smaller are not told apart
_LIVE = 4096  # times a stage's inputs and outputs, at most
_SCORES = 16  # tensors of scores of the largest attention, at most


def check_costs(manifest: Manifest, where: str) -> None:
    """Raise PackageError for a cost that the graphs cannot have, by its key. where: the manifest, for the message."""
    for stage in manifest.stages:
        cost, size = manifest.cost[stage.name], manifest.files[stage.file][1] + _SLACK
        place = f"{where}: cost: {stage.name}"
        _within(cost.weight_bytes, max(0, size - _NODES), size, f"{place}: 'weight_bytes'")
        # every weight works once at each position, at most, and at one at least (half of them: some are tables)
        least = cost.weight_bytes // 8 if cost.weight_bytes > _NODES else 0
        for height, width in _SIDES:
            io_bytes, positions = _io(stage, height, width)
            live = io_bytes * _LIVE + 8 * _SCORES * positions**2
            work = 2 * size * positions + 4 * _SCORES * math.isqrt(size) * positions**2
            _evaluated(cost.flop, (height, width), least, work, f"{place}: 'flop'")
            _evaluated(cost.live_bytes, (height, width), io_bytes, live, f"{place}: 'live_bytes'")
            _evaluated(cost.plain_live_bytes, (height, width), io_bytes, live, f"{place}: 'plain_live_bytes'")


def _io(stage: Stage, height: int, width: int) -> tuple[int, int]:
    """Bytes of the stage's inputs and outputs, and the positions of the largest of them, for one photo."""
    shapes = [(spec.resolve(1, height, width), DTYPE_BYTES[spec.dtype]) for spec in stage.tensors.values()]
    return sum(math.prod(shape) * size for shape, size in shapes), max(math.prod(shape[2:]) for shape, _ in shapes)


def _evaluated(found: Polynomial, size: tuple[int, int], low: int, high: int, what: str) -> None:
    height, width = size
    _within(found.at(height, width), low, high, f"{what} for a photo of {width}x{height}")


def _within(found: int, low: int, high: int, what: str) -> None:
    if not low * 0.99 <= found <= high * 1.01:
        bounds = f"by the graph's size and its inputs and outputs it lies between {low:,} and {high:,}"
        raise PackageError(f"{what} is {show(found)}, and {bounds}; build the package again.")
