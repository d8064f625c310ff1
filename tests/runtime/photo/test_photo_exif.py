"""EXIF goes along byte for byte: types, counts, charsets, in every format, and damage costs the damaged tag alone."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exif_samples import Tags, exif_of, jpeg_segments, jpeg_with, made, parsed
from photo_samples import chunk, noise, png_file
from PIL import Image

from runtime.photo import read_photo, write_photo
from runtime.photo import write as write_module

FORMATS = [".jpg", ".png", ".tif", ".webp"]
STORED = {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317}  # a TIFF's own


def jpeg(exif: bytes, *, size: tuple[int, int] = (16, 24)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(*size, 3, top=60)).save(stream, "JPEG", quality=95)
    return jpeg_with(stream.getvalue(), (0xE1, b"Exif\0\0" + exif))


def through(tmp_path: Path, data: bytes, suffix: str) -> tuple[str, Tags]:
    """The tags of the file that the photo ``data`` becomes."""
    (tmp_path / "source").write_bytes(data)
    write_photo(tmp_path / f"a{suffix}", read_photo(tmp_path / "source"), overwrite=True)
    order, tags = parsed(exif_of(tmp_path / f"a{suffix}"))
    if suffix == ".tif":
        tags["image"] = {tag: value for tag, value in tags["image"].items() if tag not in STORED}
    return order, tags


def text(value: bytes) -> tuple[int, int, bytes]:
    return 2, len(value), value


def rich(order: str) -> Tags:
    """Every type, in every directory: text of several charsets, without an end, empty; numbers with a sign."""

    def pack(layout: str, *values: Any) -> bytes:
        return struct.pack(order + layout, *values)

    return {
        "image": {
            270: text("夜のパリ — Île Saint-Louis\0".encode()),
            271: text(b"NIKON CORPORATION"),  # no NUL
            282: (5, 1, pack("2I", 300, 1)),
            305: text(b""),  # count 0
            315: text("Jörg Müller\0".encode()),
            33432: text("© 2024 Zoë\0".encode("latin-1")),
            531: (3, 1, pack("H", 2)),
            18246: (3, 1, pack("H", 4)),
            40091: (1, 6, "Tit".encode("utf-16-le")),
            50341: (7, 12, b"PrintIM\0" + bytes(4)),
            60001: (6, 3, pack("3b", -1, 2, -128)),
            60002: (8, 2, pack("2h", -1, 300)),
            60003: (9, 1, pack("i", -70000)),
            60004: (11, 1, pack("f", 0.1)),
            60005: (12, 3, pack("3d", 0.1, -2, 1e300)),
            60006: (129, 5, "é✓".encode()),
        },
        "exif": {
            33434: (5, 1, pack("2I", 10, 1600)),  # not reduced
            34855: (3, 1, pack("H", 6400)),
            36864: (7, 4, b"0231"),
            37121: (7, 4, b"\1\2\3\0"),
            37380: (10, 1, pack("2i", -1, 3)),
            37382: (5, 1, pack("2I", 0xFFFFFFFF, 1)),
            37386: (5, 1, pack("2I", 24, 0)),
            37396: (3, 4, pack("4H", 100, 200, 30, 40)),
            37510: (7, 8 + 10, b"UNICODE\0" + "Ünï夜!".encode("utf-16-le" if order == "<" else "utf-16-be")),
            40961: (4, 1, pack("I", 65535)),  # LONG where most write SHORT
            41729: (7, 1, b"\1"),
            42034: (5, 4, pack("8I", 24, 1, 70, 1, 28, 10, 0, 0)),
            42032: text("Jörg\0".encode("latin-1")),
        },
        "gps": {
            0: (1, 4, b"\2\3\0\0"),
            1: text(b"S\0"),
            2: (5, 3, pack("6I", 33, 1, 51, 1, 3599, 100)),
            5: (1, 1, b"\1"),
            27: (7, 17, b"ASCII\0\0\0CELLID 32"),
        },
        "interop": {1: text(b"R03\0"), 2: (7, 4, b"0100")},
    }


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_types_and_counts_stay(tmp_path: Path, order: str, suffix: str) -> None:
    tags = rich(order)
    data = jpeg(made(tags, order))
    assert through(tmp_path, data, suffix) == (order, tags)
    again = (tmp_path / f"a{suffix}").read_bytes()
    for other in FORMATS:
        assert through(tmp_path, again, other) == (order, tags), "and from that format into every other"


@pytest.mark.parametrize("charset", [b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"UNICODE\0", bytes(8), b""])
def test_user_comments(tmp_path: Path, charset: bytes) -> None:
    comment = charset and charset + b"\x93\xfa\x96\x7b"
    tags: Tags = {"image": {}, "exif": {37510: (7, len(comment), comment)}}
    for suffix in FORMATS:
        assert through(tmp_path, jpeg(made(tags)), suffix)[1] == tags


def test_exif_in_other_places(tmp_path: Path) -> None:
    """With and without "Exif\\0\\0", in two segments, and as ImageMagick writes it into a PNG's text."""
    tags = rich(">")
    exif = made(tags, ">")
    stream = io.BytesIO()
    Image.fromarray(noise(8, 8, 3)).save(stream, "WEBP", lossless=True, exif=b"II*\0")
    webp = stream.getvalue()[:-12]  # without its EXIF chunk
    sources = {}
    for name, body in (("webp", exif), ("webp with Exif", b"Exif\0\0" + exif)):
        whole = webp + b"EXIF" + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
        sources[name] = whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
    plain = jpeg(exif)
    start = plain.index(b"Exif\0\0") - 4
    stripped = plain[:start] + plain[start + 10 + len(exif) :]
    sources["two segments"] = jpeg_with(stripped, (0xE1, b"Exif\0\0" + exif[:300]), (0xE1, b"Exif\0\0" + exif[300:]))
    digits = (b"Exif\0\0" + exif).hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    for name in (b"exif", b"APP1"):
        profile = b"\n%s\n%8d\n%s\n" % (name, len(exif) + 6, lines.encode())
        pixels = noise(8, 8, 3)
        sources[name.decode()] = png_file(pixels, extra=chunk(b"tEXt", b"Raw profile type " + name + b"\0" + profile))
    for name, data in sources.items():
        assert through(tmp_path, data, ".png") == (">", tags), name
        assert b"Raw profile" not in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_maker_note_stays_where_it_was(tmp_path: Path, order: str, suffix: str) -> None:
    """A note whose own directory counts offsets from the beginning of the EXIF data, as Canon's does."""
    tags = rich(order)
    tags["image"][271] = text(b"Canon\0")
    size = len(made({**tags, "exif": {**tags["exif"], 37500: (7, 30, bytes(30))}}, order)) - 30
    for pad in (0, 1, 700):
        for _ in range(2):
            note = struct.pack(order + "HHHII", 1, 6, 2, 12, 0) + b"Canon EOS R5"
            tags["exif"][37500] = (7, len(note), note)
            source = made(tags, order, pad=pad)
            at = source.index(note[:6])
            note = struct.pack(order + "HHHII", 1, 6, 2, 12, at + 14) + b"Canon EOS R5"
            tags["exif"][37500] = (7, len(note), note)
        source = made(tags, order, pad=pad)
        assert through(tmp_path, jpeg(source), suffix) == (order, tags)
        written = exif_of(tmp_path / f"a{suffix}")
        assert written[at + 14 : at + 26] == b"Canon EOS R5"
        if suffix != ".tif":
            assert len(written) < len(source) + 400
    assert size > 0


def test_sizes_are_those_of_the_picture(tmp_path: Path) -> None:
    for kind, layout in ((3, "H"), (4, "I")):
        sizes = {40962: (kind, 1, struct.pack("<" + layout, 4000)), 40963: (kind, 1, struct.pack("<" + layout, 3000))}
        tags: Tags = {"image": {274: (3, 1, b"\6\0")}, "exif": sizes}
        for suffix in FORMATS:
            written = through(tmp_path, jpeg(made(tags), size=(16, 24)), suffix)[1]
            assert written["exif"] == {
                40962: (kind, 1, struct.pack("<" + layout, 16)),
                40963: (kind, 1, struct.pack("<" + layout, 24)),
            }
    photo = read_photo(tmp_path / "source")
    both = np.hstack((photo.pixels, photo.pixels))
    write_photo(tmp_path / "both.jpg", photo.with_pixels(both))
    assert parsed(exif_of(tmp_path / "both.jpg"))[1]["exif"][40962] == (4, 1, struct.pack("<I", 32))


# Orientation


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("kind", "value", "one"),
    [
        (1, b"\6", b"\1"),
        (3, b"\6\0", b"\1\0"),
        (4, b"\6\0\0\0", b"\1\0\0\0"),
        (7, b"\6", b"\1"),
        (8, b"\6\0", b"\1\0"),
        (5, struct.pack("<2I", 12, 2), struct.pack("<2I", 1, 1)),
        (11, struct.pack("<f", 6), struct.pack("<f", 1)),
    ],
)
def test_orientation_of_any_type_is_applied_and_reset(
    tmp_path: Path, kind: int, value: bytes, one: bytes, suffix: str
) -> None:
    tags: Tags = {"image": {271: text(b"Cam\0"), 274: (kind, 1, value)}}
    data = jpeg(made(tags), size=(16, 24))
    assert through(tmp_path, data, suffix)[1]["image"] == {271: text(b"Cam\0"), 274: (kind, 1, one)}
    photo = read_photo(tmp_path / "source")
    np.testing.assert_array_equal(photo.pixels, np.rot90(np.asarray(Image.open(io.BytesIO(data))), -1))


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [(2, 2, b"6\0"), (3, 0, b""), (5, 1, struct.pack("<2I", 6, 0)), (11, 1, struct.pack("<f", np.nan))],
)
def test_an_orientation_that_was_not_applied_is_not_reset(tmp_path: Path, kind: int, count: int, value: bytes) -> None:
    tags: Tags = {"image": {271: text(b"Cam\0"), 274: (kind, count, value)}}
    for suffix in FORMATS:
        assert through(tmp_path, jpeg(made(tags), size=(16, 24)), suffix)[1] == tags
    assert read_photo(tmp_path / "source").pixels.shape == (16, 24, 3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "count", "layout", "values", "turned"),
    [
        (1, 1, "B", (6,), True),
        (3, 1, "H", (6,), True),
        (4, 1, "I", (6,), True),
        (5, 1, "2I", (12, 2), True),
        (11, 1, "f", (6.0,), True),
        (3, 2, "2H", (6, 3), True),
        (3, 0, "", (), False),
        (2, 2, "2s", (b"6",), False),
        (5, 1, "2I", (6, 0), False),
    ],
)
@pytest.mark.parametrize("depth", [8, 16])
def test_orientation_of_a_tiff(
    tmp_path: Path, order: str, kind: int, count: int, layout: str, values: tuple[Any, ...], turned: bool, depth: int
) -> None:
    """Pillow turns a TIFF itself, by a reading of its own."""
    samples = noise(6, 9, 3, dtype=np.uint16 if depth == 16 else np.uint8)
    pixels = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    value = struct.pack(order + layout, *values)

    def long(number: int) -> tuple[int, int, bytes]:
        return 4, 1, struct.pack(order + "I", number)

    def file(start: int) -> bytes:
        tags = {256: long(9), 257: long(6), 258: (3, 3, struct.pack(order + "3H", *[depth] * 3)), 259: long(1)}
        tags |= {262: long(2), 273: long(start), 274: (kind, count, value), 277: long(3), 278: long(6)}
        return made({"image": {**tags, 279: long(len(pixels))}}, order)

    (tmp_path / "source").write_bytes(file(len(file(0))) + pixels)
    told: list[int] = []
    photo = read_photo(tmp_path / "source", check=lambda *size: told.extend(size))
    np.testing.assert_array_equal(photo.pixels, np.rot90(samples, -1) if turned else samples)
    assert told == [photo.pixels.shape[1], photo.pixels.shape[0], depth]
    write_photo(tmp_path / "a.tif", photo)
    found = parsed(exif_of(tmp_path / "a.tif"))[1]["image"][274]
    assert (found == (kind, count, value)) != turned
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").pixels, photo.pixels)
    with Image.open(tmp_path / "a.tif") as image:
        assert image.size == (photo.pixels.shape[1], photo.pixels.shape[0])


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_size_is_checked_as_the_picture_will_be(tmp_path: Path, turn: int) -> None:
    exif = made({"image": {274: (3, 1, struct.pack("<H", turn))}})
    stream = io.BytesIO()
    image = Image.fromarray(noise(16, 24, 3))
    image.save(stream, "TIFF", tiffinfo={274: turn})
    png = png_file(noise(16, 24, 3), extra=chunk(b"eXIf", exif))
    for data in (jpeg(exif, size=(16, 24)), stream.getvalue(), png):
        (tmp_path / "source").write_bytes(data)
        told: list[int] = []
        photo = read_photo(tmp_path / "source", check=lambda *size, told=told: told.extend(size))
        assert told == [photo.pixels.shape[1], photo.pixels.shape[0], 8]
        assert photo.pixels.shape[:2] == ((24, 16) if turn >= 5 else (16, 24))


# Damage


def entry(tag: int, kind: int, count: int, field: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, field)


def directory(*entries: bytes) -> bytes:
    return struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (entry(33432, 2, 10, 5000), "0x8298 (it lies behind the end"),
        (entry(33432, 2, 2**31, 8), "0x8298 (it claims 2147483648 bytes)"),
        (entry(33432, 99, 1, 0), "0x8298 (its type 99 is unknown)"),
        (entry(33432, 0, 1, 0), "0x8298 (its type 0 is unknown)"),
        (entry(34665, 4, 1, 8), "0x8769 (it leads to no directory)"),  # to itself
        (entry(34665, 4, 1, 60000), "0x8769 (it leads to no directory)"),
        (entry(34665, 2, 1, 0), "0x8769 (it leads to no directory)"),
        (entry(34853, 4, 1, 3), "0x8825 (it leads to no directory)"),
        (entry(50000, 13, 1, 8), "0xc350 (it leads to no directory)"),
    ],
)
def test_damage_costs_the_damaged_tag_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes, word: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr(write_module._log, "warning", lambda form, *values: said.append(form % values))
    entries = [entry(274, 3, 1, 6), entry(271, 2, 4, 0x006D6143), bad]
    exif = b"II*\0\x08\0\0\0" + directory(*entries)
    for suffix in FORMATS:
        tags = through(tmp_path, jpeg(exif, size=(16, 24)), suffix)[1]
        assert tags == {"image": {271: text(b"Cam\0"), 274: (3, 1, b"\1\0")}}
        assert read_photo(tmp_path / f"a{suffix}").pixels.shape == (24, 16, 3), "and the orientation was applied"
    assert len(said) == 4
    assert all(word in line for line in said)


def test_directories_that_lead_to_each_other(tmp_path: Path) -> None:
    second = 8 + 6 + 3 * 12
    first = directory(entry(271, 2, 4, 0x006D6143), entry(34665, 4, 1, second), entry(34853, 4, 1, second))
    inner = directory(entry(34855, 3, 1, 800), entry(40965, 4, 1, 8))
    tags = through(tmp_path, jpeg(b"II*\0\x08\0\0\0" + first + inner), ".jpg")[1]
    assert tags == {"image": {271: text(b"Cam\0")}, "exif": {34855: (3, 1, b"\x20\x03")}}


def test_a_directory_that_is_cut_short_keeps_its_beginning(tmp_path: Path) -> None:
    whole = b"II*\0\x08\0\0\0" + directory(entry(271, 2, 4, 0x006D6143), entry(274, 3, 1, 6), entry(305, 2, 4, 0))
    for end in range(len(whole) - 16, len(whole) - 4):
        tags = through(tmp_path, jpeg(whole[:end]), ".png")[1]
        assert tags == {"image": {271: text(b"Cam\0"), 274: (3, 1, b"\1\0")}}, end


def test_values_that_share_their_bytes_do_not_grow(tmp_path: Path) -> None:
    """3,000 tags that all point at the same 20,000 bytes."""
    tags = b"".join(entry(1000 + i, 7, 20000, 8) for i in range(3000))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 3000) + tags + bytes(4)
    photo = read_photo(save(tmp_path / "a.jpg", jpeg(exif)))
    assert len(photo.exif or b"") < 3 * len(exif)


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_any_damage_of_exif_costs_no_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 damaged blocks, always the same ones: what is read of them is written and is a whole structure."""
    monkeypatch.setattr(write_module._log, "warning", lambda *values: None)
    rng, survived = random.Random(18), 0
    good = made(rich("<")), made(rich(">"), ">")
    for number in range(400):
        data = bytearray(good[number % 2])
        for _ in range(rng.choice((1, 2, 4, 16))):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 4, 8, 255, rng.randrange(256)))
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        photo = read_photo(save(tmp_path / "source", jpeg(bytes(data), size=(8, 8))))
        if photo.exif:
            suffix = FORMATS[number % 4]
            write_photo(tmp_path / f"a{suffix}", photo, overwrite=True)
            survived += len(parsed(exif_of(tmp_path / f"a{suffix}"))[1]["image"]) > 10
    assert survived > 200


def test_pillow_reads_what_is_written(tmp_path: Path) -> None:
    through(tmp_path, jpeg(made(rich("<"))), ".jpg")
    assert [marker for marker, _ in jpeg_segments((tmp_path / "a.jpg").read_bytes())][:2] == [0xE0, 0xE1]
    with Image.open(tmp_path / "a.jpg") as image:
        exif = image.getexif()
        assert exif.get_ifd(34665)[34855] == 6400
        assert exif.get_ifd(34853)[1] == "S"
