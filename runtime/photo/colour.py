"""What a PNG says of its colours in chunks of its own: kept in a PNG, and made a profile of for other formats."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from . import bmp
from .icc import MOST_BYTES, Point, Space, profile_of, trouble
from .png_layout import Layout

_LENGTHS = {b"cICP": 4, b"mDCV": 24, b"cLLI": 8, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
_NEWER = {b"mDCv": b"mDCV", b"cLLi": b"cLLI"}  # as drafts of PNG's third edition had them
_D65, _C, _DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
_BT709 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65)
_PRIMARIES: dict[int, tuple[Point, Point, Point, Point]] = {  # ITU-T H.273, table 2: red, green, blue, white
    1: _BT709,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    10: ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_TV = 1.099296826809442
_TV_CURVE = (1 / 0.45, 1 / _TV, (_TV - 1) / _TV, 1 / 4.5, 4.5 * 0.018053968510807)
_CURVES = {  # ITU-T H.273, table 3
    **{number: _TV_CURVE for number in (1, 6, 14, 15)},
    4: (2.2,),
    5: (2.8,),
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: (1.0,),
    13: _SRGB_CURVE,
}
_NO_CURVES = {16: "HDR colours (PQ)", 18: "HDR colours (HLG)"}
_SHOWN = {1: "BT.709", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_UNKNOWN = 2


@dataclass(frozen=True)
class Colour:
    """The chunks of a PNG; each is None where it is absent or says nothing."""

    cicp: bytes | None = None
    mdcv: bytes | None = None
    clli: bytes | None = None
    srgb: bytes | None = None
    gama: bytes | None = None
    chrm: bytes | None = None

    def chunks(self, *, with_profile: bool) -> list[tuple[bytes, bytes]]:
        """(kind, data) in the order of a file; sRGB and a profile do not stand together."""
        named = {b"cICP": self.cicp, b"mDCV": self.mdcv, b"cLLI": self.clli}
        named |= {b"sRGB": None if with_profile else self.srgb, b"gAMA": self.gama, b"cHRM": self.chrm}
        return [(kind, data) for kind, data in named.items() if data is not None]

    def space(self) -> Space | None:
        """The colours by what counts most: cICP, sRGB, gAMA and cHRM; None where nothing is said.

        Raises ValueError, in words, for colours that no plain profile holds, such as HDR.
        """
        if self.cicp and self.cicp[0] != _UNKNOWN and self.cicp[1] != _UNKNOWN:
            primaries, transfer, _, full = self.cicp
            curve, points = _CURVES.get(transfer), _PRIMARIES.get(primaries)
            if curve is None:
                raise ValueError(_NO_CURVES.get(transfer, f"colours of transfer function {transfer} (cICP)"))
            if points is None:
                raise ValueError(f"colours of primaries {primaries} (cICP)")
            if not full:
                raise ValueError("samples in the range of video (cICP)")
            return Space(*points, curve, _SHOWN.get(primaries, f"cICP {primaries}/{transfer}"))
        if self.srgb:
            return Space(*_BT709, _SRGB_CURVE, "sRGB")
        if self.gama is None and self.chrm is None:
            return None
        points, curve = _BT709, _SRGB_CURVE
        if self.chrm is not None:
            wx, wy, *others = (value / 100_000 for value in struct.unpack(">8I", self.chrm))
            rx, ry, gx, gy, bx, by = others
            points = ((rx, ry), (gx, gy), (bx, by), (wx, wy))
        if self.gama is not None:
            curve = (100_000 / int.from_bytes(self.gama, "big"),)
        return Space(*points, curve, "PNG gAMA and cHRM")

    def profile(self, channels: int) -> bytes | None:
        """An ICC profile of the same for ``channels`` 1 or 3; None where nothing is said. Raises ValueError."""
        space = self.space()
        return profile_of(space, channels) if space else None


def of_chunks(chunks: dict[bytes, bytes], left_out: list[str]) -> Colour:
    """What ``chunks`` (kind to data) say; what is not usable goes to ``left_out``, in words."""
    good: dict[str, bytes] = {}
    for given, data in chunks.items():
        kind = _NEWER.get(given, given)
        if kind not in _LENGTHS:
            continue
        if len(data) == _LENGTHS[kind] and _means(kind, data):
            good.setdefault(kind.decode().lower(), data)
        else:
            left_out.append(f"its {given.decode()} chunk (it is damaged)")
    return Colour(**good)


def _means(kind: bytes, data: bytes) -> bool:
    try:
        if kind in (b"gAMA", b"cHRM"):
            profile_of(Colour(**{kind.decode().lower(): data}).space() or Space(*_BT709, (1.0,), ""), 3)
    except (ValueError, ZeroDivisionError):
        return False
    return (kind != b"cICP" or (data[2] == 0 and data[3] < 2)) and (kind != b"sRGB" or data[0] < 4)


def of_nclx(primaries: int, transfer: int) -> Colour:
    """The colours of full-range RGB by two numbers of ITU-T H.273, as HEIC and AVIF have them."""
    if _UNKNOWN in (primaries, transfer):
        return Colour()
    return Colour(srgb=b"\0") if (primaries, transfer) == (1, 13) else Colour(cicp=bytes((primaries, transfer, 0, 1)))


def profile_of_chunk(data: bytes, left_out: list[str]) -> bytes | None:
    """The ICC profile in an iCCP chunk; what is damaged or too large goes to ``left_out``, in words."""
    packed = data.partition(b"\0")[2]
    unpack = zlib.decompressobj()
    try:
        profile = unpack.decompress(packed[1:], MOST_BYTES + 1) if packed[:1] == b"\0" else b""
    except zlib.error:
        profile = b""
    if len(profile) > MOST_BYTES:
        left_out.append(f"the colour profile (more than {MOST_BYTES} bytes)")
    elif not unpack.eof:
        left_out.append("the colour profile (it is damaged)")
    else:
        return profile
    return None


def brought(
    file: BinaryIO, kind: str, profile: object, layout: Layout | None, left_out: list[str]
) -> tuple[bytes | None, Colour]:
    """(ICC profile, a PNG's other chunks) of ``file``, of the format ``kind``. What is not usable goes to ``left_out``.

    profile: what Pillow found. layout: a PNG's.
    """
    if layout is not None:
        left_out.extend(layout.damaged)
        packed = layout.colour.get(b"iCCP")
        profile = profile_of_chunk(packed, left_out) if packed is not None else None
    elif kind == "BMP":
        profile = bmp.profile(file)
    own = of_chunks(layout.colour, left_out) if layout is not None else Colour()
    return profile if isinstance(profile, bytes) and profile else None, own


def written(
    profile: bytes | None, own: Colour, kind: str, channels: int
) -> tuple[bytes | None, list[tuple[bytes, bytes]], str]:
    """(ICC profile, chunks of a PNG, what is left out, in words) for a file of the format ``kind`` with pixels of
    ``channels`` colours (1 or 3), of a photo with ``profile`` and ``own``.

    Raises ValueError, in words, where it has colours that this format has no place for.
    """
    why = trouble(profile, channels) if profile else ""
    profile = None if why else profile
    lost = f"the colour profile ({why})" if why else ""
    if kind == "PNG":
        return profile, own.chunks(with_profile=profile is not None), lost
    return profile or own.profile(channels), [], lost
