"""From what a tensor was seen to hold to the largest magnitude that int8 is to hold: what lies above is clipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .names import Method
from .observe import Observed

LEVELS = 127  # steps of symmetric int8 on either side of 0
_CANDIDATES = 100

Array = NDArray[Any]


def threshold(method: Method, observed: Observed, name: str) -> float:
    """For the tensor ``name``; at most the largest magnitude seen.

    minmax: the largest seen. percentile: what 99.99 % of the values of each single photo and step do not pass. mse and
    entropy: see below; both from the histogram over all photos.
    """
    low, high = observed.extremes(name)
    largest = max(-low, high)
    if largest == 0:
        return 1.0  # a tensor that is always 0: any scale holds it
    if method == "minmax":
        return largest
    if method == "percentile":
        return observed.tail(name) or largest
    return min(largest, _SEARCHES[method](*observed.histogram(name)))


def _mse(counts: Array, width: float) -> float:
    """The one with the smallest mean squared error: rounding inside (step^2 / 12), clipping outside."""
    centres = (np.arange(len(counts)) + 0.5) * width
    ends = _ends(counts)
    errors = []
    for end in ends:
        limit = end * width
        clipped = (counts[end:] * (centres[end:] - limit) ** 2).sum()
        errors.append(counts[:end].sum() * (limit / LEVELS) ** 2 / 12 + clipped)
    return float(ends[int(np.argmin(errors))]) * width


def _entropy(counts: Array, width: float) -> float:
    """The one whose quantised distribution diverges least (Kullback-Leibler) from the clipped one, as TensorRT's
    calibrator chose it (Migacz, 8-bit Inference with TensorRT, 2017)."""
    ends = _ends(counts)
    return float(ends[int(np.argmin([_divergence(counts, end) for end in ends]))]) * width


_SEARCHES: dict[str, Callable[[Array, float], float]] = {"entropy": _entropy, "mse": _mse}


def _ends(counts: Array) -> list[int]:
    """Candidates: bin counts from a few up to the last bin in use."""
    last = int(np.flatnonzero(counts)[-1]) + 1
    return sorted({max(1, round(end)) for end in np.linspace(last / _CANDIDATES, last, _CANDIDATES)})


def _divergence(counts: Array, end: int) -> float:
    reference = counts[:end].astype(np.float64)
    reference[-1] += counts[end:].sum()  # what is clipped lands on the last level
    if end <= LEVELS:
        merged = counts[:end].astype(np.float64)
    else:
        level = np.arange(end) * (LEVELS + 1) // end
        used = counts[:end] > 0
        total = np.bincount(level, counts[:end], LEVELS + 1)
        spread = np.bincount(level, used, LEVELS + 1)
        merged = np.where(used, (total / np.maximum(spread, 1))[level], 0.0)
    p, q = reference / reference.sum(), merged / max(merged.sum(), 1)
    both = p > 0
    return float((p[both] * np.log(p[both] / np.maximum(q[both], 1e-12))).sum())
