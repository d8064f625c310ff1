"""Photos <-> tensors: padding, colour range, crop and the rounding rule; PSNR and SSIM. Pure numpy functions."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
PSNR_CEILING = 200.0  # dB, what is told for two equal arrays
SSIM_WINDOW = 11  # pixels: the smallest side of a photo that has an SSIM
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def array_text(value: object) -> str:
    """What a caller or a file gave in place of an array that was wanted: its dtype and shape, or its type."""
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def padded_size(size: int, multiple: int) -> int:
    """The next multiple at or above ``size``, in pixels."""
    return -(-size // multiple) * multiple


def reflect_indices(size: int, padded: int) -> NDArray[np.intp]:
    """(padded,) source index of every padded position: reflection that does not repeat the border pixel.

    Equal to torch's ``reflect`` where that is defined (padding smaller than the image). For photos smaller than their
    padding it goes on back and forth, 0 1 2 1 0 1 2 ..., and an image one pixel wide repeats that pixel.
    """
    if size == 1:
        return np.zeros(padded, np.intp)
    position = np.arange(padded) % (2 * (size - 1))
    return np.minimum(position, 2 * (size - 1) - position)


def to_tensor(photos: Pixels, multiple: int, *, top: int = 0, bottom: int | None = None) -> NDArray[np.float32]:
    """(B, H, W, 3) uint8 or uint16, RGB -> (B, 3, Hp, Wp) float32 in [0, 1], RGB.

    Hp and Wp are the next multiples of ``multiple``; padding goes to the right and the bottom (reflection).
    top, bottom: only these rows of the padded photo.
    """
    _, height, width, _ = photos.shape
    rows, columns = padded_size(height, multiple), padded_size(width, multiple)
    bottom = rows if bottom is None else bottom
    largest = np.float32(np.iinfo(photos.dtype).max)
    inside = photos[:, top:bottom]
    below = photos.take(reflect_indices(height, rows)[top:bottom][inside.shape[1] :], axis=1)
    planes = np.empty((len(photos), 3, bottom - top, columns), np.float32)
    # Only the padding is copied before it is converted: half of the time that whole padded photos took at 600x400.
    first = 0
    for part in (inside, below):
        then = first + part.shape[1]
        np.divide(part.transpose(0, 3, 1, 2), largest, out=planes[:, :, first:then, :width])
        first = then
    planes[..., width:] = planes[..., reflect_indices(width, columns)[width:]]
    return planes


def to_pixels(image: NDArray[np.floating], height: int, width: int, dtype: np.dtype) -> Pixels:
    """(B, 3, Hp, Wp) float in [0, 1] -> (B, height, width, 3) of ``dtype``: crop, then floor(max * x + 0.5)."""
    largest = np.float32(np.iinfo(dtype).max)
    pixels: Pixels = np.empty((len(image), height, width, 3), dtype)
    for colour in range(3):  # one at a time: a third of the memory, and half of the time
        plane = np.multiply(image[:, colour, :height, :width], largest, dtype=np.float32)
        plane += np.float32(0.5)
        np.minimum(plane, largest, out=plane)  # in float32, 65535 + 0.5 rounds up to 65536
        pixels[..., colour] = plane
    return pixels


def psnr(reference: NDArray[Any], other: NDArray[Any], peak: float) -> float:
    """Peak signal-to-noise ratio over all values of two arrays of one shape, in dB, at most PSNR_CEILING."""
    return decibels(float(np.mean((reference.astype(np.float64) - other.astype(np.float64)) ** 2)), peak)


def decibels(error: float, peak: float = 1.0) -> float:
    """The PSNR that belongs to a mean squared error, in dB, at most PSNR_CEILING."""
    return min(PSNR_CEILING, 10 * float(np.log10(peak**2 / error))) if error else PSNR_CEILING


def ssim(reference: NDArray[Any], photo: NDArray[Any]) -> float:
    """Structural similarity (Wang et al. 2004), mean over RGB. Both (H, W, 3), 0 to 255, H and W at least 11.

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
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    kernel = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    kernel /= kernel.sum()
    rows, columns = (size - SSIM_WINDOW + 1 for size in image.shape[:2])
    image = reduce(np.add, (w * image[i : i + rows] for i, w in enumerate(kernel)))
    return reduce(np.add, (w * image[:, i : i + columns] for i, w in enumerate(kernel)))
