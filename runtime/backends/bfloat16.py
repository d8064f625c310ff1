"""bfloat16, which numpy does not have, as the uint16 of its bits: the upper half of a float32.

ml_dtypes has the type; these lines save every device one compiled wheel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = np.uint16
"""The dtype of a host array that holds bfloat16; no tensor of a package is a real uint16."""


def host_dtype(dtype: str) -> np.dtype[Any]:
    """Of the host array for a tensor of this dtype, which may be ``bfloat16``."""
    return np.dtype(BITS if dtype == "bfloat16" else dtype)


def to_bits(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Float32 -> bits of the nearest bfloat16, ties to even. Not for NaN."""
    wide = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = wide + (0x7FFF + ((wide >> 16) & 1)).astype(np.uint32)
    return (rounded >> 16).astype(np.uint16)


def from_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Bits -> the same values in float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def fill(host: NDArray[Any], array: NDArray[Any]) -> None:
    """Copy ``array`` into a host array of any of a package's dtypes; float32 is cast."""
    np.copyto(host, to_bits(array) if host.dtype == BITS else array, casting="same_kind")


def floats(host: NDArray[Any]) -> NDArray[Any]:
    """What a host array holds: float types as float32, others as they are."""
    if host.dtype == BITS:
        return from_bits(host)
    return host.astype(np.float32, copy=False) if host.dtype.kind == "f" else host
