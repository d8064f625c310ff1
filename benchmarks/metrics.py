"""SSIM of photos, as the low-light literature measures it, and both of its scores together."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from runtime.image import psnr

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def scores(reference: NDArray[np.uint8], photo: NDArray[np.uint8]) -> tuple[float, float]:
    """(PSNR in dB, SSIM). Both (H, W, 3) uint8."""
    return psnr(reference, photo, 255), ssim(reference, photo)


def ssim(reference: NDArray[np.uint8], photo: NDArray[np.uint8]) -> float:
    """Structural similarity (Wang et al. 2004), mean over RGB. Both (H, W, 3) uint8, H and W at least 11.

    Data range 255, 11x11 Gaussian of sigma 1.5, population covariance, valid region: what scikit-image gives with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False`` and cuts to the region that no border touches.
    """
    x, y = reference.astype(np.float64), photo.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return float(np.mean(numerator / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))))


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    kernel = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        size = image.shape[axis] - _WINDOW + 1
        sliding = (w * np.take(image, range(i, i + size), axis) for i, w in enumerate(kernel))
        image = functools.reduce(np.add, sliding)
    return image
