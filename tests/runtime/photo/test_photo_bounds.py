"""Small files that a decoder would work on for minutes, and the real photos that are like them."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from photo_samples import chunk, noise, png_file
from PIL import Image

from runtime.errors import InputError
from runtime.photo import read_photo

SECONDS = 20.0  # for one that is refused at once on an idle machine


def jpeg(**options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(48, 64, 3)).save(stream, "JPEG", **options)
    return stream.getvalue()


def with_scans(count: int, width: int, height: int) -> bytes:
    """A progressive grey JPEG of at least 6 scans, whose last scan is there again and again."""
    stream = io.BytesIO()
    Image.new("L", (width, height), 128).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    end = data.rindex(b"\xff\xd9")
    last = data[data.rindex(b"\xff\xc4", 0, end) : end]
    return data[:end] + last * (count - data.count(b"\xff\xda")) + data[end:]


def rle(data: bytes, width: int, height: int, *, kind: int = 1) -> bytes:
    bits = 8 if kind == 1 else 4
    start = 54 + 4 * 2**bits
    head = struct.pack(
        "<2sIIIIiiHHIIiiII", b"BM", start + len(data), 0, start, 40, width, height, 1, bits, kind, len(data), 0, 0, 0, 0
    )
    return head + b"".join(bytes([i, i, i, 0]) for i in range(2**bits)) + data


def bigtiff(tags: int) -> bytes:
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, tags) + struct.pack("<HHQQ", 60000, 1, 1, 1) * 100_000


def strips(count: int) -> bytes:
    """A TIFF of one column, each of whose pixels is a strip."""
    tags = {256: (3, 1), 257: (4, count), 258: (3, 8), 259: (3, 1), 262: (3, 1), 277: (3, 1), 278: (4, 1)}
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in tags.items()]
    entries[6:6] = [struct.pack("<HHII", 273, 4, count, start)]
    entries.append(struct.pack("<HHII", 279, 4, count, start + 4 * count))
    offsets = np.arange(count, dtype="<u4") + start + 8 * count
    body = offsets.tobytes() + np.ones(count, "<u4").tobytes() + bytes(count)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4) + body


def behind(data: bytes, place: int, more: bytes) -> bytes:
    return data[:place] + more + data[place:]


RESOURCES = b"\xff\xed\xff\xfePhotoshop 3.0\0" + (b"8BIM\4\4" + bytes(6)) * 5459 + bytes(10)
TINY, NONE = chunk(b"teSt", b""), chunk(b"IDAT", b"")
MADE: dict[str, tuple[Callable[[], bytes], str]] = {
    "scans": (lambda: with_scans(300, 8000, 2000), "more than 125 scans of 16.0 megapixels"),
    "many scans": (lambda: with_scans(20_000, 64, 64), "more than 10,000 segments"),
    "segments": (lambda: behind(jpeg(), 2, b"\xff\xe5\0\2" * 2_000_000), "more than 10,000 segments"),
    "filling": (lambda: behind(jpeg(), 2, b"\xff" * 3_000_000), "bytes of filling"),
    "zeros": (lambda: behind(jpeg(), 20, bytes(30_000_000)), "bytes of filling"),
    "resources": (lambda: behind(jpeg(), 2, RESOURCES * 100), "Photoshop resources"),
    "chunks": (lambda: behind(png_file(noise(9, 9, 3)), 33, TINY * 1_000_000), "more than 200,000 chunks"),
    "empty pixel data": (lambda: behind(png_file(noise(9, 9, 3)), 33, NONE * 1_000_000), "more than 200,000 chunks"),
    "tags": (lambda: bigtiff(2**40), "TIFF of 1,099,511,627,776 tags"),
    "strips": (lambda: strips(500_000), "500,000 strips or tiles"),
    "runs": (lambda: rle(b"\1\7" * 5_000_000, 5000, 5000), "run-length encoded BMP"),
    "ends of rows": (lambda: rle(b"\0\0" * 5_000_000, 5000, 5000), "run-length encoded BMP"),
    "four bits": (lambda: rle(b"\xff\7" * 1000, 9000, 9000, kind=2), "run-length encoded BMP"),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_what_would_take_minutes_is_refused_at_once(name: str) -> None:
    make, what = MADE[name]
    data, started = make(), time.monotonic()
    with pytest.raises(InputError, match=what) as caught:
        read_photo(data, max_pixels=178_000_000)
    assert "; save it" in str(caught.value)
    assert time.monotonic() - started < SECONDS


@pytest.mark.parametrize(("count", "width", "height"), [(10, 3000, 2000), (64, 3000, 2000), (1000, 64, 64)])
def test_scans_of_real_encoders_are_read(count: int, width: int, height: int) -> None:
    assert read_photo(with_scans(count, width, height)).pixels.shape == (height, width, 3)


def test_what_real_photos_hold_of_it_is_read() -> None:
    data = jpeg()
    profile = b"".join(b"\xff\xe2\xff\xff" + b"x" * 65533 for _ in range(255))
    assert read_photo(data[:2] + profile + b"\xff" * 1000 + data[2:]).pixels.shape == (48, 64, 3)
    data = jpeg(progressive=True, restart_marker_rows=1)
    assert read_photo(data).pixels.shape == (48, 64, 3)
    pixels = noise(40, 255)
    rows = b"".join(b"\0\xff" + row.tobytes() + b"\0" + b"\0\0" for row in pixels[::-1]) + b"\0\1"
    np.testing.assert_array_equal(read_photo(rle(rows, 255, 40)).pixels[..., 0], pixels)
    assert read_photo(strips(2000)).pixels.shape == (2000, 1, 3)
