"""Overlapping windows over x_t: their sizes, where they lie, and weights that sum to 1 at every position. Pure
functions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..image import padded_size

_OVERLAP = 128  # pixels of the photo that neighbouring windows share
_SMALLEST = 256  # pixels of the photo, a side
_LARGE = (15 / 16, 7 / 8, 3 / 4)  # of a side: two of these are twice the work, and see nearly the whole photo


@dataclass(frozen=True, eq=False)
class Axis:
    """Windows of one length along one axis."""

    length: int
    starts: tuple[int, ...]
    """Rising: the first is 0, the last window ends where the axis does."""
    weights: NDArray[np.float32]
    """(windows, length); at every position of the axis those of the windows there sum to 1."""


@dataclass(frozen=True, eq=False)
class Window:
    """One window of a grid."""

    top: int
    left: int
    weight: NDArray[np.float32]
    """(length of rows, length of columns)."""


def axis(size: int, length: int, overlap: int, multiple: int) -> Axis:
    """Windows of ``length`` that cover ``size`` positions, neighbours sharing at least ``overlap`` of them.

    size and length: multiples of ``multiple``, as all starts are, so that a window sees the grid of the networks'
    strides where the whole would. overlap: less than length. A window as long as the axis, or longer, is the axis.
    """
    if length >= size:
        return Axis(size, (0,), np.ones((1, size), np.float32))
    steps = -(-(size - length) // ((length - overlap) // multiple * multiple))
    starts = tuple((size - length) * index // steps // multiple * multiple for index in range(steps + 1))
    weights = np.ones((len(starts), length))
    for index in range(steps):
        shared = starts[index] + length - starts[index + 1]
        ramp = np.sin(np.pi / 2 * (np.arange(shared) + 0.5) / shared) ** 2
        weights[index + 1, :shared] *= ramp
        weights[index, length - shared :] *= ramp[::-1]
    total = np.zeros(size)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + length] += weight
    for start, weight in zip(starts, weights, strict=True):
        weight /= total[start : start + length]
    return Axis(length, starts, weights.astype(np.float32))


def grid(rows: Axis, columns: Axis) -> Iterator[Window]:
    """Every window of the two axes, row by row; at a position their weights sum to 1, as those of row and column do."""
    for top, down in zip(rows.starts, rows.weights, strict=True):
        for left, across in zip(columns.starts, columns.weights, strict=True):
            yield Window(top, left, down[:, None] * across[None, :])


def count_windows(size: int, length: int, overlap: int) -> int:
    """Windows of ``length`` over ``size``, neighbours sharing at least ``overlap``."""
    return 1 if length >= size else 1 + -(-(size - length) // (length - overlap))


def window_sizes(rows: int, columns: int, multiple: int) -> Iterator[tuple[int, int, int]]:
    """(rows, columns, overlap) in pixels of windows that cover a padded photo evenly, from large to small: two that
    share most of it, then more that share little."""
    overlap, least = padded_size(_OVERLAP, multiple), padded_size(_SMALLEST, multiple)
    narrowest = overlap + multiple  # what more and more windows come down to

    def side(size: int, count: int) -> int:
        return size if count == 1 else padded_size(math.ceil((size + (count - 1) * overlap) / count), multiple)

    def counts(size: int) -> Iterator[int]:
        count = 1
        while count == 1 or side(size, count) >= least:
            yield count
            if side(size, count) <= narrowest:
                return
            count += 1 if count < 8 else count // 4

    def large(size: int) -> Iterator[int]:
        lengths = (padded_size(math.ceil(share * size), multiple) for share in _LARGE)
        return (length for length in lengths if max(least, side(size, 2)) < length < size)

    sizes = [
        (side(rows, down), side(columns, across))
        for down in counts(rows)
        for across in counts(columns)
        if down * across > 1
    ]
    sizes += [(height, columns) for height in large(rows)] + [(rows, width) for width in large(columns)]
    # at one memory the squarer window is the better one: keep those that no other beats
    for height, width in sorted(sizes or [(rows, columns)], key=lambda one: (-one[0] * one[1], abs(one[0] - one[1]))):
        if max(height, width) <= 2 * min(height, width) or min(rows, columns) < least:
            yield height, width, overlap
