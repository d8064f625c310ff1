"""What planning has to know of a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Traits:
    """What planning has to know of a backend. Memory is measured (``docs/memory.md``), for float32."""

    live: float
    """Multiple of the denoiser's ``StageCost.live_bytes`` that the engine holds."""
    live_rest: float
    """The same for every other stage."""
    weights: float
    """Multiple of the denoiser's weights that one more form of it holds."""
    live_low_memory: float | None = None
    """``live`` in the form that needs less memory; None where the engine has none."""
    live_plain: float = 0.0
    """Multiple of ``StageCost.plain_live_bytes``, live with all scores of an attention at once."""
    keeps: Literal["nothing", "photo", "all"] = "nothing"
    """How long a stage's scratch memory stays: not at all, to the end of the loop and of the photo, or for good."""
    key_stride: bool = False
    """Whether attention may see a part of the keys only."""
    device: bool = False
    """The engine's memory is not the host's."""
