"""A sampling: how often, at which noise levels and from what the denoiser is run. No numpy: a manifest has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..names import Start


@dataclass(frozen=True)
class Sampling:
    """How often, at which noise levels and from what the denoiser is run."""

    name: str
    timesteps: tuple[int, ...]
    """Falling, each from 0 to T - 1: one call of the denoiser each."""
    start: Start
    coefficients: tuple[tuple[float, ...], ...] | None = None
    """c0 to c4 of each call; None: those of DDIM between these timesteps, and from the last to x_0."""
    judged: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What it was found and judged on; empty where it is not ours."""

    @property
    def calls(self) -> int:
        return len(self.timesteps)


def timesteps(num_train_timesteps: int, num_inference_steps: int) -> tuple[int, ...]:
    """S of T, evenly spaced and falling to 0: 180, 160, ..., 20, 0 for 10 of 200 (the official ones)."""
    return tuple(step * num_train_timesteps // num_inference_steps for step in reversed(range(num_inference_steps)))
