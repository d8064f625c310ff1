"""The search for timesteps and a start, coarse to fine. It knows no network: what a sampling is worth is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, pairwise, product

from runtime.names import FAST, Start
from runtime.package.sampling import Sampling

Value = Callable[[Sequence[Sampling]], list[float]]
"""Samplings -> what each is worth; more is better."""

_COARSE = 10  # the first grid has so many timesteps, and the last of the schedule
_FINER = (2, 4)  # the spacings after it: a half, a quarter
_BEST = 2  # whose neighbours are tried
_ROUNDS = 3  # of neighbours at one spacing


class Search:
    """Over samplings from ``start`` of a schedule with ``total`` timesteps. Each is asked for once."""

    def __init__(self, total: int, start: Start, value: Value) -> None:
        self._total, self._start, self._value = total, start, value
        self._spacing = max(1, total // _COARSE)
        self._grid = sorted({*range(0, total, self._spacing), total - 1})
        self._found: dict[int, list[Sampling]] = {}
        self.values: dict[Sampling, float] = {}
        """Of all that were tried."""

    def best(self, calls: int) -> list[Sampling]:
        """Those with exactly so many calls, best first."""
        if calls not in self._found:
            self._found[calls] = self._search(calls)
        return self._found[calls]

    def _search(self, calls: int) -> list[Sampling]:
        ranked = self._ranked(self._first(calls))
        for finer in _FINER:
            spacing = max(1, self._spacing // finer)
            for _ in range(_ROUNDS):
                before = ranked[:_BEST]
                ranked = self._ranked([*ranked, *(near for one in before for near in self._neighbours(one, spacing))])
                if ranked[:_BEST] == before:
                    break
        return ranked

    def _first(self, calls: int) -> list[Sampling]:
        """One or two calls: all of the grid. More: the best with one call less, and one of the grid in between."""
        if calls <= 2:
            return [self._fast(steps) for steps in combinations(self._grid, calls)]
        return [
            self._fast((*one.timesteps, added))
            for one in self.best(calls - 1)[:_BEST]
            for added in self._grid
            if added not in one.timesteps
        ]

    def _neighbours(self, one: Sampling, spacing: int) -> list[Sampling]:
        """All timesteps moved at once, by the spacing or not; with three and more calls one after the other."""
        moves: Iterable[tuple[int, ...]] = product((-spacing, 0, spacing), repeat=one.calls)
        if one.calls > 2:
            moves = [
                tuple(by * (i == k) for i in range(one.calls)) for k in range(one.calls) for by in (-spacing, spacing)
            ]
        moved = [tuple(t + by for t, by in zip(one.timesteps, move, strict=True)) for move in moves]
        inside = [steps for steps in moved if min(steps) >= 0 and max(steps) < self._total]
        return [self._fast(steps) for steps in inside if all(a > b for a, b in pairwise(steps))]

    def _ranked(self, samplings: Iterable[Sampling]) -> list[Sampling]:
        """Best first, each once. Of equals the one that was named first."""
        different = list(dict.fromkeys(samplings))
        new = [one for one in different if one not in self.values]
        self.values.update(zip(new, self._value(new), strict=True))
        return sorted(different, key=lambda one: -self.values[one])

    def _fast(self, steps: Iterable[int]) -> Sampling:
        return Sampling(FAST, tuple(sorted(steps, reverse=True)), self._start)
