"""Where a photo's time goes: milliseconds by part, added up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter_ns

from ..names import LOOP


class Laps:
    """Times of one photo."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        """Milliseconds by part, in the order in which the parts came first."""
        self.steps: list[float] = []
        """Milliseconds of every denoiser step, in order; empty where all stages run as one graph."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``."""
        started = perf_counter_ns()
        yield
        self.add([(name, (perf_counter_ns() - started) / 1e6)], steps=False)

    def add(self, times: Iterable[tuple[str, float]], *, steps: bool = True) -> None:
        """Add a job's times; those of the loop are steps as well."""
        for name, milliseconds in times:
            self.ms[name] = self.ms.get(name, 0.0) + milliseconds
            if steps and name == LOOP:
                self.steps.append(milliseconds)
