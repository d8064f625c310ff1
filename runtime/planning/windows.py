"""Overlapping windows over x_t: where they lie, and weights that sum to 1 at every place. Pure numpy functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Axis:
    """Windows of one length along one axis. starts: rising, the first 0, the last ends where the axis does.
    weights: (windows, length) float32; at every place of the axis those of the windows there sum to 1."""

    length: int
    starts: tuple[int, ...]
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Window:
    """One window of a grid. weight: (length of rows, length of columns) float32."""

    top: int
    left: int
    weight: NDArray[np.float32]


def axis(size: int, length: int, overlap: int, multiple: int) -> Axis:
    """Windows of ``length`` that cover ``size`` places, neighbours sharing at least ``overlap`` of them.

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
    """Every window of the two axes, row by row; the weights of a place sum to 1 as those of its row and column do."""
    for top, down in zip(rows.starts, rows.weights, strict=True):
        for left, across in zip(columns.starts, columns.weights, strict=True):
            yield Window(top, left, down[:, None] * across[None, :])
