"""Where full-width strips of a photo lie. An HFRM reaches 13 rows up and down (its attention stays within a row, so a
strip is as wide as the photo): with that many rows more on both sides, 13 * 2^K of the photo at the level of the
smallest band, what a strip keeps is what the whole photo would give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..image import padded_size

HFRM_REACH = 13  # rows of a detail band: 1 (depth-wise), 1 and 1 (attention), 1 (conv_HH), 9 (dilated), 1 (tail) - 1


@dataclass(frozen=True)
class Strip:
    """Rows ``top`` up to ``bottom`` of the padded photo are computed, ``first`` up to ``end`` of them kept."""

    top: int
    bottom: int
    first: int
    end: int


def halo(levels: int) -> int:
    """Rows of the photo that a strip needs above and below those that it keeps."""
    return HFRM_REACH << levels


def smallest_strip(levels: int, multiple: int) -> int:
    """The least height of a strip: both halos and a multiple of the padding."""
    return padded_size(2 * halo(levels) + multiple, multiple)


def strips(size: int, height: int, halo: int) -> Iterator[Strip]:
    """Strips of one height over ``size`` padded rows; the last is shifted up to end where the photo does.

    height: more than twice ``halo``, or all rows. Every row is kept once.
    """
    if height >= size:
        yield Strip(0, size, 0, size)
        return
    first = 0
    while first < size:
        top = max(0, min(first - halo, size - height))
        end = size if top + height >= size else top + height - halo
        yield Strip(top, top + height, first, end)
        first = end
