"""What a photo's run gives back: the picture, and where its time went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Backend
from ..errors import EngineError
from ..image import Pixels, to_pixels
from ..names import LOOP
from ..planning.request import Plan


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


@dataclass(frozen=True)
class Outcome:
    """Photos, and how they came about."""

    pixels: Pixels
    """(B, H, W, 3), the shape and dtype of the photos that were given."""
    laps: Laps
    plan: Plan
    """The one that they were run by."""
    note: str
    """Why they were not run whole, as planned; empty if they were."""


def to_photos(output: NDArray[np.float32], size: tuple[int, int], dtype: np.dtype[Any], maker: Backend[Any]) -> Pixels:
    """The photos (B, *size, 3) of ``dtype`` from a restored image (B, 3, Hp, Wp) float32.

    Raises EngineError where the image holds NaN or infinity. maker: for that error.
    """
    height, width = size
    if not np.isfinite(output).all():
        raise not_finite(width, height, maker)
    return to_pixels(output, height, width, dtype)


def not_finite(width: int, height: int, maker: Backend[Any]) -> EngineError:
    """The error for a result of these pixels that ``maker`` made."""
    return EngineError(
        f"a result of {width}x{height} pixels holds NaN or infinity (backend {maker.name}); use an fp32 or bf16 "
        "package."
    )
