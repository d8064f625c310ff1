"""The options of a call and of a stream, by which a type checker knows them. ``Enhancer`` says what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..planning.request import Plan

Sample = TypeVar("Sample", np.uint8, np.uint16)
"""Of a photo, and of its result."""


class FrameOptions(TypedDict, total=False):
    """Of ``Enhancer.stream``."""

    sampling: str | None
    steps: int | None
    sampler: str | None
    seed: int | None
    noise: NDArray[np.float32] | None


class Options(FrameOptions, total=False):
    """Of a call."""

    plan: Plan | None
