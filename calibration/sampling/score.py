"""How near a picture is to the one that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.image import psnr, ssim

Array = NDArray[Any]


@dataclass(frozen=True)
class Score:
    """Of one picture, or the mean of several."""

    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class Scores:
    """As the pictures are, and with a gain that makes their mean brightness equal."""

    plain: Score
    equal: Score


def compare(target: Array, picture: Array) -> Score:
    """Both (H, W, 3), 0 to 255."""
    return Score(psnr(target, picture, 255), ssim(target, picture))


def same_brightness(target: Array, picture: Array) -> Array:
    """``picture``, (H, W, 3), 0 to 255, times the gain that gives it the mean of ``target`` (before it is clipped)."""
    gain = float(target.mean()) / max(float(picture.mean()), 1e-3)
    brightened: Array = np.clip(picture * np.float32(gain), 0, 255)
    return brightened


def mean_score(scores: Sequence[Score]) -> Score:
    return Score(*map(float, np.mean([astuple(score) for score in scores], axis=0)))


def mean_scores(scores: Sequence[Scores]) -> Scores:
    return Scores(mean_score([one.plain for one in scores]), mean_score([one.equal for one in scores]))
