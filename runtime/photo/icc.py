"""ICC profiles: which may be written with which pixels, and a writer for three primaries and a curve.

The writer is ours because it has to be exact: LittleCMS, by way of Pillow, makes profiles of sRGB alone, and rounds no
better than a profile's own numbers do.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 255 * 65519
"""A larger profile is left out: a JPEG's ends here."""
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
_SPACES = {1: b"GRAY", 3: b"RGB "}
_SHOWN = {b"GRAY": "grey", b"RGB ": "RGB", b"CMYK": "CMYK", b"Lab ": "Lab", b"XYZ ": "XYZ"}
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Point = tuple[float, float]
"""CIE 1931 x and y."""


@dataclass(frozen=True)
class Space:
    """The colours of RGB samples."""

    red: Point
    green: Point
    blue: Point
    white: Point
    curve: tuple[float, ...]
    """Samples in 0..1 to light in 0..1: (g,) for X ** g; (g, a, b, c, d) for (aX + b) ** g where X >= d, else cX."""
    name: str
    """What programs show."""

    def to_xyz(self) -> NDArray[np.float64]:
        """(3, 3) matrix from linear RGB to XYZ with the white's Y 1. Raises ValueError where there is none."""
        points = np.array([[x, y, 1 - x - y] for x, y in (self.red, self.green, self.blue)]).T
        x, y = self.white
        if y <= 0 or abs(np.linalg.det(points)) < 1e-6:
            raise ValueError("its primaries lie on a line, or its white has no light")
        scale = np.linalg.solve(points, np.array([x, y, 1 - x - y]) / y)
        if scale.min() <= 0:
            raise ValueError("its white is not between its primaries")
        return np.asarray(points * scale)


def trouble(profile: bytes, channels: int) -> str:
    """Why ``profile`` says nothing about pixels of ``channels`` colours (1 or 3), in words; empty where it does."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        return "it is damaged"
    if len(profile) > MOST_BYTES:
        return f"{len(profile)} bytes"
    (size,), (tags,) = struct.unpack_from(">I", profile), struct.unpack_from(">I", profile, 128)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(min(tags, (len(profile) - 132) // 12))]
    if size > len(profile) or len(entries) < max(tags, 1) or any(at + length > size for _, at, length in entries):
        return "it is damaged"
    if profile[12:16] not in _CLASSES:
        return "it is not of a picture"
    if profile[16:20] != _SPACES[channels]:
        space = _SHOWN.get(profile[16:20], "other colours")
        return f"it is for {space}, the picture is {_SHOWN[_SPACES[channels]]}"
    return ""


def profile_of(space: Space, channels: int) -> bytes:
    """An ICC profile (version 4.3) of ``space`` for RGB (``channels`` 3) or its greys (1). Raises ValueError where
    ``space`` has no matrix, or the profile's numbers do not hold its curve."""
    to_xyz = space.to_xyz()
    white = to_xyz.sum(axis=1)
    adapt = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD
    columns = (adapt @ to_xyz).T
    curve = b"para" + bytes(4) + struct.pack(">HH", {1: 0, 5: 3}[len(space.curve)], 0) + _fixed(*space.curve)
    tags = {b"desc": _text(space.name), b"cprt": _text("No copyright"), b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50)}
    tags[b"chad"] = b"sf32" + bytes(4) + _fixed(*adapt.ravel())
    if channels == 1:
        tags[b"kTRC"] = curve
    else:
        tags.update({tag: b"XYZ " + bytes(4) + _fixed(*one) for tag, one in zip(_COLORANTS, columns, strict=True)})
        tags.update({tag: curve for tag in (b"rTRC", b"gTRC", b"bTRC")})
    return _file(tags, _SPACES[channels])


_COLORANTS = (b"rXYZ", b"gXYZ", b"bXYZ")


def _file(tags: dict[bytes, bytes], space: bytes) -> bytes:
    begin = 132 + 12 * len(tags)
    table, body, places = b"", b"", {}
    for tag, data in tags.items():
        if data not in places:  # three curves that are one stand there once
            places[data] = begin + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", tag, places[data], len(data))
    head = struct.pack(">I4sI4s4s4s", begin + len(body), bytes(4), 0x04300000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(*_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _fixed(*values: float) -> bytes:
    """s15Fixed16Number."""
    numbers = [round(float(value) * 65536) for value in values]
    if any(abs(number) >= 2**31 for number in numbers):
        raise ValueError("a number is too large for a profile")
    return struct.pack(f">{len(numbers)}i", *numbers)


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data
