"""How large a print is meant to be: what JFIF, PNG, BMP and TIFF say of it, and how each of them writes it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from fractions import Fraction

from .ifd import RATIONAL, SHORT, Block, Tag

X, Y, UNIT = 282, 283, 296
"""The tags of TIFF and EXIF."""
_METRES = {"inch": Fraction(254, 10000), "cm": Fraction(1, 100), "metre": Fraction(1)}
_TIFF_UNITS = {1: "", 2: "inch", 3: "cm"}
_JFIF_UNITS = {0: "", 1: "inch", 2: "cm"}


@dataclass(frozen=True)
class Resolution:
    """Pixels a unit of length; both numbers are above 0."""

    x: Fraction
    """Along a row."""
    y: Fraction
    """Along a column."""
    unit: str
    """"inch", "cm", "metre", or "" where only the ratio of x to y means something."""

    def turned(self) -> Resolution:
        """That of the picture with rows for columns."""
        return replace(self, x=self.y, y=self.x)

    def to(self, unit: str) -> Resolution:
        """In another ``unit`` of length. What a header rounded to whole pixels a metre becomes the whole number of
        pixels an inch that it was."""
        if self.unit == unit or not self.unit:
            return self
        x, y = (value * _METRES[unit] / _METRES[self.unit] for value in (self.x, self.y))
        if self.unit == "metre" and unit == "inch":
            x, y = (
                Fraction(round(inches)) if round(round(inches) / _METRES["inch"]) == value else inches
                for inches, value in ((x, self.x), (y, self.y))
            )
        return Resolution(x, y, unit)

    def same(self, other: Resolution) -> bool:
        """Whether both say the same, but for the rounding of headers with whole numbers."""
        if bool(self.unit) != bool(other.unit):
            return False
        if not self.unit:
            return self.x * other.y == self.y * other.x
        one, two = self.to("inch"), other.to("inch")
        return abs(one.x - two.x) <= one.x / 100 and abs(one.y - two.y) <= one.y / 100

    def __str__(self) -> str:
        if not self.unit:
            return f"{float(self.x):g}:{float(self.y):g}"
        inch = self.to("inch")
        return f"{float(inch.x):g} dpi" if inch.x == inch.y else f"{float(inch.x):g} x {float(inch.y):g} dpi"


def _made(x: Fraction | int, y: Fraction | int, unit: str | None) -> Resolution | None:
    if unit is None or x <= 0 or y <= 0 or (not unit and x == y):
        return None
    return Resolution(Fraction(x), Fraction(y), unit)


def of_jfif(body: bytes) -> Resolution | None:
    """Of the body of a JPEG's APP0 segment; None where it says nothing."""
    if len(body) < 12 or not body.startswith(b"JFIF\0"):
        return None
    unit, x, y = struct.unpack(">BHH", body[7:12])
    return _made(x, y, _JFIF_UNITS.get(unit))


def of_phys(data: bytes) -> Resolution | None:
    """Of the data of a PNG's pHYs chunk; None where it says nothing."""
    if len(data) != 9:
        return None
    x, y, unit = struct.unpack(">IIB", data)
    return _made(x, y, {0: "", 1: "metre"}.get(unit))


def of_bmp(head: bytes) -> Resolution | None:
    """Of the first 46 bytes of a BMP; None where it says nothing."""
    if len(head) < 46 or int.from_bytes(head[14:18], "little") < 40:
        return None
    x, y = struct.unpack("<ii", head[38:46])
    return _made(x, y, "metre")


def of_tags(block: Block) -> Resolution | None:
    """Of the first directory of EXIF or a TIFF; None where it says nothing."""
    values = []
    for number in (X, Y):
        tag = block.tags.get(number)
        if isinstance(tag, Tag) and (tag.type, tag.count) == (RATIONAL, 1):
            above, below = struct.unpack(block.order + "2I", tag.value)
            values.append(Fraction(above, below) if below else Fraction(0))
        else:
            values.append(Fraction(block.number(tag) or 0))
    unit = block.number(block.tags.get(UNIT))
    return _made(values[0], values[1], _TIFF_UNITS.get(2 if unit is None else int(unit)))


def add_tags(block: Block, resolution: Resolution) -> None:
    """Put ``resolution`` into the first directory of EXIF or a TIFF."""
    if resolution.unit == "metre":
        whole = resolution.to("inch")
        resolution = whole if whole.x.denominator == whole.y.denominator == 1 else resolution.to("cm")
    for number, value in ((X, resolution.x), (Y, resolution.y)):
        value = min(value.limit_denominator(10000), Fraction(2**32 - 1))
        block.tags[number] = block.of(RATIONAL, value.numerator, value.denominator)
    unit = next(number for number, name in _TIFF_UNITS.items() if name == resolution.unit)
    block.tags[UNIT] = block.of(SHORT, unit)


def jfif(resolution: Resolution) -> bytes | None:
    """Unit, x and y as in JFIF, 5 bytes; None where whole numbers of 16 bits do not hold it."""
    if resolution.unit == "metre":
        resolution = resolution.to("inch")
    x, y = round(resolution.x), round(resolution.y)
    unit = next(number for number, name in _JFIF_UNITS.items() if name == resolution.unit)
    return struct.pack(">BHH", unit, x, y) if 0 < x < 2**16 and 0 < y < 2**16 else None


def phys(resolution: Resolution) -> bytes | None:
    """The data of a pHYs chunk; None where whole pixels a metre do not hold it."""
    resolution = resolution.to("metre")
    x, y = round(resolution.x), round(resolution.y)
    return struct.pack(">IIB", x, y, bool(resolution.unit)) if 0 < x < 2**31 and 0 < y < 2**31 else None


def bmp(resolution: Resolution) -> bytes | None:
    """The 8 bytes of a BMP's header; None where whole pixels a metre do not hold it."""
    resolution = resolution.to("metre")
    x, y = round(resolution.x), round(resolution.y)
    return struct.pack("<ii", x, y) if resolution.unit and 0 < x < 2**31 and 0 < y < 2**31 else None
