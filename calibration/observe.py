"""What a tensor was seen to hold: extremes a call, and one histogram of magnitudes. Its size never grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.image import array_text

BINS = 2048
PERCENTILE = 99.99  # of the values of one photo at one step
_VALUES_SEEN = 1 << 16  # of one tensor in one run: the histogram takes so many, evenly spread; the extremes take all
_SMALLEST_WIDTH = 2.0**-40
_EXTREMES = "lows", "highs"  # infinite where nothing was seen
_LEAST = {"counts": 0, "widths": _SMALLEST_WIDTH, "tails": 0}

Array = NDArray[Any]


class Observed:
    """The tensors of one stage over all photos.

    lows, highs: (tensors, steps) float32, the extremes; steps counts the calls of a stage for one photo, over all
    samplings, and is 1 outside of the loop. counts: (tensors,
    BINS) int64 over magnitudes from 0; widths: (tensors,) float64, of a bin. Widths are powers of two and a histogram
    is folded when a value falls off its end, so that the order of the photos does not matter. tails: (tensors,)
    float64, the magnitude that PERCENTILE of the values do not pass, of the photo and step where it is largest: in the
    sum of all photos a few bright lamps vanish, and what is clipped for one photo is then a hundred times more.
    """

    def __init__(self, tensors: Sequence[str], steps: int) -> None:
        self.tensors = tuple(tensors)
        self._index = {name: index for index, name in enumerate(self.tensors)}
        self.lows = np.full((len(self.tensors), steps), np.inf, np.float32)
        self.highs = np.full((len(self.tensors), steps), -np.inf, np.float32)
        self.counts = np.zeros((len(self.tensors), BINS), np.int64)
        self.widths = np.full(len(self.tensors), _SMALLEST_WIDTH)
        self.tails = np.zeros(len(self.tensors))

    def add(self, name: str, step: int, values: Array) -> bool:
        """Count ``values``; False, and nothing counted, where one is NaN or infinite."""
        low, high = values.min(), values.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            return False
        index = self._index[name]
        self.lows[index, step] = min(self.lows[index, step], low)
        self.highs[index, step] = max(self.highs[index, step], high)
        flat = values.reshape(-1)
        magnitudes = np.abs(flat[:: _stride(flat.size)])
        self._widen(index, float(magnitudes.max()))
        places = (magnitudes * np.float32(1 / self.widths[index])).astype(np.int32)
        self.counts[index] += np.bincount(places, minlength=BINS)
        rank = min(magnitudes.size - 1, int(magnitudes.size * PERCENTILE / 100))
        self.tails[index] = max(self.tails[index], float(np.partition(magnitudes, rank)[rank]))
        return True

    def extremes(self, name: str) -> tuple[float, float]:
        """(lowest, highest) over all photos and steps."""
        index = self._index[name]
        return float(self.lows[index].min()), float(self.highs[index].max())

    def histogram(self, name: str) -> tuple[Array, float]:
        """(counts, width of a bin) of the magnitudes."""
        index = self._index[name]
        return self.counts[index], float(self.widths[index])

    def tail(self, name: str) -> float:
        return float(self.tails[self._index[name]])

    def state(self) -> dict[str, Array]:
        return {name: getattr(self, name) for name in ("lows", "highs", "counts", "widths", "tails")}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take what ``state`` gave. Raises ValueError, and nothing is taken, where it can be of no such tensors."""
        for name, own in self.state().items():
            given = state[name]
            if given.shape != own.shape or given.dtype != own.dtype:
                raise ValueError(f"{name} {array_text(given)}, and {array_text(own)} is wanted")
            sound = given >= _LEAST.get(name, -np.inf)  # NaN is not
            if not sound.all() or (name not in _EXTREMES and not np.isfinite(given).all()):
                raise ValueError(f"{name} holds a value that no photo gives")
        for name, own in self.state().items():
            own[...] = state[name]

    def _widen(self, index: int, largest: float) -> None:
        width = self.widths[index]
        while largest >= width * BINS:
            width *= 2
        folds = round(np.log2(width / self.widths[index]))
        for _ in range(min(folds, BINS.bit_length())):  # after so many folds all counts are in the first bin
            pairs = self.counts[index].reshape(-1, 2).sum(axis=1)
            self.counts[index] = np.concatenate((pairs, np.zeros(BINS // 2, np.int64)))
        self.widths[index] = width


def _stride(size: int) -> int:
    """About size / _VALUES_SEEN, and with no factor in common with the size: every row, column and channel is met."""
    stride = max(1, size // _VALUES_SEEN)
    while gcd(stride, size) > 1:
        stride += 1
    return stride
