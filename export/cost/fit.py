"""Counts at a few photo sizes -> polynomials of the size, for a manifest: what a runtime plans with that has no graphs
to count in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from runtime.image import padded_size
from runtime.package.manifest import Polynomial, Stage, StageCost

from ..passes.cpu_forms import restore
from .count import graph_cost, sized

# Height, width: the same pixels in other shapes tell rows from pixels, the largest the square from the rest. All of
# them have more positions than one block of queries (512x1024 has 2048): the scores grow with the square up to there.
_SIZES = ((768, 1024), (1024, 768), (1024, 1024), (1024, 2048), (2048, 4096), (4096, 8192))
_EXACT = 1e-6  # relative: float64 sums of integers stay below


def stage_cost(content: bytes, stage: Stage, pad_multiple: int, where: str) -> StageCost:
    """The manifest's entry for ``stage``, whose graph is ``content``. where: its name in errors. Raises PackageError
    for a graph whose shapes cannot be told."""
    sizes = [(padded_size(height, pad_multiple), padded_size(width, pad_multiple)) for height, width in _SIZES]
    plain = restore(content)
    counts = {form: [graph_cost(sized(form, stage, *size), where) for size in sizes] for form in {content, plain}}
    return StageCost(
        flop=fit(sizes, [one.flop for one in counts[plain]]),
        live_bytes=fit(sizes, [one.live_bytes for one in counts[content]]),
        plain_live_bytes=fit(sizes, [one.live_bytes for one in counts[plain]]),
        weight_bytes=counts[content][0].weight_bytes,
    )


def fit(sizes: Sequence[tuple[int, int]], counts: Sequence[int]) -> Polynomial:
    """The polynomial with the fewest terms that passes through ``counts`` at ``sizes`` (height, width); where none
    does, the one that is nearest by its largest relative error. No coefficient is negative."""
    if not any(counts):
        return Polynomial(0.0, 0.0, 0.0, 0.0)
    terms = np.array([(1, h, h * w, (h * w) ** 2) for h, w in sizes], np.float64)
    relative = terms / np.array(counts, np.float64)[:, None]
    scale = np.abs(relative).max(axis=0)
    best, error = np.zeros(4), np.inf
    for used in (list(one) for count in (1, 2, 3, 4) for one in combinations(range(4), count)):
        found = np.linalg.lstsq(relative[:, used] / scale[used], np.ones(len(sizes)), rcond=None)[0] / scale[used]
        off = float(np.abs(relative[:, used] @ found - 1).max())
        if found.min() >= 0 and off < error:
            best, error = np.zeros(4), off
            best[used] = found
        if error < _EXACT:
            break
    return Polynomial(*(float(f"{value:.12g}") for value in best))
