"""Large texts and profiles beside a PNG's pixels: they do not cost the photo, and what is written is read again."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
import pytest
from photo_samples import SRGB, chunk, noise, png_file
from PIL import Image, ImageFile, PngImagePlugin

from runtime.errors import InputError
from runtime.photo import encode_photo, read_photo

WORKFLOW = b'{"node": 7, "inputs": [1, 2, 3]} ' * 60_000  # 1.9 MB
TEXTS = {
    "zTXt": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(WORKFLOW)),
    "iTXt": chunk(b"iTXt", b"workflow\0\1\0en\0Ablauf\0" + zlib.compress(WORKFLOW)),
    "plain iTXt": chunk(b"iTXt", b"prompt\0\0\0\0\0" + WORKFLOW),
    "tEXt": chunk(b"tEXt", b"workflow\0" + WORKFLOW),
}
PROFILE = struct.pack(">I", 1_300_000) + SRGB[4:] + random.Random(1).randbytes(1_300_000 - len(SRGB))


def chunks(data: bytes, *kinds: bytes) -> list[bytes]:
    position, found = 8, []
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        found.append(data[position : position + 12 + length]) if kind in kinds else None
        position += 12 + length
    return found


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_kept_byte_for_byte(name: str) -> None:
    for samples in (noise(9, 11, 3), noise(9, 11, 4, dtype=np.uint16)):
        data = png_file(samples, extra=TEXTS[name] + chunk(b"tEXt", b"Title\0caf\xe9") * 2)
        behind = data[:-12] + chunk(b"zTXt", b"late\0\0" + zlib.compress(b"x")) + data[-12:]
        photo = read_photo(behind)
        np.testing.assert_array_equal(photo.pixels, samples[..., :3])
        written = encode_photo(photo, "PNG")
        kinds = (b"tEXt", b"zTXt", b"iTXt")
        assert chunks(written, *kinds) == chunks(behind, *kinds)
        assert chunks(encode_photo(read_photo(written), "PNG"), *kinds) == chunks(behind, *kinds)


def test_a_large_profile_goes_from_a_jpeg_through_every_format() -> None:
    stream = io.BytesIO()
    Image.fromarray(noise(40, 50, 3)).save(stream, "JPEG", icc_profile=PROFILE)
    photo = read_photo(stream.getvalue())
    assert photo.icc_profile == PROFILE
    for kind in ("PNG", "TIFF", "WEBP", "BMP", "JPEG"):
        back = read_photo(encode_photo(photo, kind))
        assert back.icc_profile == PROFILE
        assert read_photo(encode_photo(back, "PNG")).icc_profile == PROFILE


def test_a_profile_that_unpacks_to_more_than_a_jpeg_holds_is_left_out() -> None:
    pack = zlib.compressobj(9)
    packed = b"".join([*(pack.compress(bytes(2**20)) for _ in range(17)), pack.flush()])
    photo = read_photo(png_file(noise(9, 11, 3), extra=chunk(b"iCCP", b"large\0\0" + packed)))
    assert photo.icc_profile is None
    assert "the colour profile (more than" in " ".join(photo.metadata.left_out)


def test_only_critical_chunks_decide() -> None:
    samples = noise(9, 11, 3)
    whole = png_file(samples)
    for kind in (
        b"tEXt",
        b"iTXt",
        b"zTXt",
        b"iCCP",
        b"eXIf",
        b"gAMA",
        b"cHRM",
        b"pHYs",
        b"tRNS",
        b"tIME",
        b"acTL",
        b"zzZz",
    ):
        for body in (b"", b"\0", b"\xff" * 3, b"a\0\1" + bytes(40)):
            good = chunk(kind, body)
            for damaged in (good, good[:-1] + bytes([good[-1] ^ 1])):
                for place in (33, len(whole) - 12):
                    photo = read_photo(whole[:place] + damaged + whole[place:])
                    np.testing.assert_array_equal(photo.pixels, samples, err_msg=f"{kind!r} {body!r} {place}")
    text = read_photo(whole[:33] + TEXTS["tEXt"][:-1] + b"?" + whole[33:]).metadata
    assert (text.text, text.left_out) == ((), ("its tEXt chunk (it is damaged)",))
    with pytest.raises(InputError, match="wrong checksum in its b'IDAT' part"):
        read_photo(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])


def test_text_between_the_pixels() -> None:
    """It is not allowed there, and it does not cost the photo: not one of palette, of a key or interlaced either."""
    samples = noise(30, 40, 3)
    key = chunk(b"tRNS", struct.pack(">HHH", *samples[3, 4].tolist()))
    for interlaced in (False, True):
        data = png_file(samples, extra=TEXTS["zTXt"] + key, interlaced=interlaced)
        middle = data.index(b"IDAT", data.index(b"IDAT") + 4) - 4
        photo = read_photo(data[:middle] + TEXTS["iTXt"] + data[middle:])
        np.testing.assert_array_equal(photo.pixels, samples)
        assert photo.alpha is not None
        assert photo.alpha[3, 4] == 0
        assert len(photo.metadata.text) == 2


def test_pillow_keeps_its_limits() -> None:
    read_photo(png_file(noise(9, 11, 3), extra=TEXTS["zTXt"]))
    assert PngImagePlugin.MAX_TEXT_CHUNK == ImageFile.SAFEBLOCK == 1024 * 1024
    assert PngImagePlugin.MAX_TEXT_MEMORY == 64 * 1024 * 1024
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
