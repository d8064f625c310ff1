"""Both scores of the low-light literature together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.image import psnr, ssim


def scores(reference: NDArray[np.uint8], photo: NDArray[np.uint8]) -> tuple[float, float]:
    """(PSNR in dB, SSIM). Both (H, W, 3) uint8."""
    return psnr(reference, photo, 255), ssim(reference, photo)
