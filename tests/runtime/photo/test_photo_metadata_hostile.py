"""Metadata made to cost time or memory: it is read and written within a limit that a slow machine keeps too."""

from __future__ import annotations

import io
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from exif_samples import exif_of, jpeg_with, parsed
from photo_samples import chunk, noise, png_file
from PIL import Image

from runtime.photo import png_metadata, read_photo, write_photo
from runtime.photo import write as write_module

LIMIT_S = 60
RDF = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hang is an error, not a test that never ends."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {LIMIT_S} s")

    monkeypatch.setattr(write_module._log, "warning", lambda *values: None)
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(8, 8, 3)).save(stream, "JPEG")
    return jpeg_with(stream.getvalue(), *segments)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return png_file(noise(8, 8, 3), extra=b"".join(chunk(kind, data) for kind, data in chunks))


def through(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "source").write_bytes(data)
    photo = read_photo(tmp_path / "source")
    for suffix in (".png", ".tif", ".webp", ".jpg"):
        write_photo(tmp_path / f"a{suffix}", photo, overwrite=True)
    return tmp_path / "a.jpg"


def test_exif_of_many_small_tags(tmp_path: Path) -> None:
    """Only the largest are left out of a JPEG; one by one, with a look at the whole after each, takes an hour."""
    tags = b"".join(struct.pack("<HHII", number, 4, 1, number) for number in range(1000, 21000))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 20000) + tags + bytes(4)
    written = exif_of(through(tmp_path, png((b"eXIf", exif))))
    assert 60000 < len(written) <= 65527
    assert len(parsed(written)[1]["image"]) > 5000


def xmps() -> dict[str, bytes]:
    tiff = b"http://ns.adobe.com/tiff/1.0/"
    return {
        "prefixes": RDF + b"".join(b"<a xmlns:p%d='%s'/>" % (i, tiff) for i in range(8000)) + b"</rdf:RDF>",
        "values": RDF + b"<a xmlns:p='%s'/>" % tiff + b"<a p:ImageWidth='1'/>" * 60000 + b"</rdf:RDF>",
        "headers": b"<?xpacket " * 200000 + RDF,
    }


@pytest.mark.parametrize("name", xmps())
def test_xmp(tmp_path: Path, name: str) -> None:
    through(tmp_path, png((b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmps()[name])))


def test_extended_xmp_without_an_end(tmp_path: Path) -> None:
    guid = b"0123456789ABCDEF" * 2
    note = b"<r:Description xmlns:n='http://ns.adobe.com/xmp/note/' n:HasExtendedXMP='%s'/>" % guid
    packet = note + b"<r:RDF>" * 8000
    rest = b"<r:RDF>" * 9000
    head = b"http://ns.adobe.com/xmp/extension/\0" + guid
    pieces = [(0xE1, head + struct.pack(">II", 100 * len(rest), at * len(rest)) + rest) for at in range(100)]
    through(tmp_path, jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet), *pieces))


def test_texts_that_unpack_to_much_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zlib.compress(bytes(2_000_000), 9)
    chunks = [(b"zTXt", b"Raw profile type exif\0\0" + bomb), (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + b"bad")]
    unpacked: list[bytes] = []
    content = png_metadata.content

    def counted(kind: bytes, data: bytes, most: int) -> bytes | None:
        unpacked.append(kind)
        return content(kind, data, most)

    monkeypatch.setattr(png_metadata, "content", counted)
    (tmp_path / "source").write_bytes(png(*chunks * 20))
    photo = read_photo(tmp_path / "source")
    assert sorted(unpacked) == [b"iTXt", b"zTXt"]
    assert photo.metadata.left_out == ("its text 'XML:com.adobe.xmp' (it is damaged)",)
