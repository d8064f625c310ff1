"""Numbers out of raw times."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

UNSTEADY = 0.05  # a coefficient of variation, or a drift, above this is flagged

Rounds = Sequence[Sequence[float]]  # milliseconds: one list a round, one number a photo


def latency(rounds: Rounds) -> dict[str, float | int]:
    """Percentiles (linear between two photos), mean, minimum and maximum of all photos."""
    times = np.array([one for turn in rounds for one in turn])
    p50, p90, p99 = np.percentile(times, (50, 90, 99))
    summary = {"p50": p50, "p90": p90, "p99": p99, "mean": times.mean(), "min": times.min(), "max": times.max()}
    return {name: round(float(value), 3) for name, value in summary.items()} | {"photos": len(times)}


def variation(rounds: Rounds) -> float:
    """Coefficient of variation: standard deviation by mean, over all photos."""
    times = np.array([one for turn in rounds for one in turn])
    return round(float(times.std() / times.mean()), 4)


def drift(rounds: Rounds) -> float:
    """By how much the last third of the rounds is slower than the first third (0.1: by 10 %)."""
    third = max(1, len(rounds) // 3)
    medians = [median(turn) for turn in rounds]
    return round(median(medians[-third:]) / median(medians[:third]) - 1, 4)


def paired_ratio(base: Rounds, other: Rounds) -> tuple[float, float, float]:
    """How many times faster ``other`` is: median, p10 and p90 of base / other, formed round by round.

    Both ran in turns in the same rounds, so that what disturbed one disturbed the other.
    """
    ratios = [median(a) / median(b) for a, b in zip(base, other, strict=True)]
    low, middle, high = np.percentile(ratios, (10, 50, 90))
    return float(middle), float(low), float(high)


def medians(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Median of each part, in the order of the first."""
    return {name: round(median(one[name] for one in parts), 3) for name in parts[0]}
