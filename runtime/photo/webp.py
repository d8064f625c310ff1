"""The size of a WebP photo, from its first bytes."""

from __future__ import annotations


def canvas_size(head: bytes) -> tuple[int, int]:
    """Width and height by the first 30 bytes of a WebP file.

    Pillow's decoder allocates the whole canvas when it opens the file, before it tells the size.
    """
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = (int.from_bytes(head[i : i + 2], "little") & 0x3FFF for i in (26, 28))
        return width, height
    raise ValueError("no WebP picture follows the header")
