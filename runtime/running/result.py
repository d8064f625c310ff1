"""What a photo's run gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.base import Backend
from ..errors import EngineError
from ..image import Pixels, to_pixels
from ..package.manifest import Manifest
from ..planning.request import Plan
from .laps import Laps


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


def to_photos(
    output: NDArray[np.float32],
    size: tuple[int, int],
    dtype: np.dtype[Any],
    manifest: Manifest,
    backend: Backend[Any],
) -> Pixels:
    """The photos (B, *size, 3) of ``dtype`` from a restored image (B, 3, Hp, Wp) float32.

    Raises EngineError where the image holds NaN or infinity.
    """
    height, width = size
    if not np.isfinite(output).all():
        raise EngineError(
            f"a result of {width}x{height} pixels holds NaN or infinity ({manifest.precision} package, backend "
            f"{backend.name}); use an fp32 or bf16 package."
        )
    return to_pixels(output, height, width, dtype)
