"""XMP, IPTC, resolution and comments through every pair of formats, read back by code of the tests' own."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from exif_samples import exif_of, jpeg_segments, jpeg_with, made, parsed, png_chunks, riff_chunks
from photo_samples import SRGB, chunk, noise, plain_jpeg, png_file, save
from PIL import Image

from runtime.photo import Photo, read_photo, write_photo
from runtime.photo.metadata import Metadata
from runtime.photo.resolution import Resolution

FORMATS = [".jpg", ".png", ".tif", ".webp"]
HEAD = b"<?xpacket begin='\xef\xbb\xbf' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'>"
RDF = b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
TAIL = b"</rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
XMP = HEAD + RDF + b"<rdf:Description xmlns:dc='http://purl.org/dc/elements/1.1/' dc:rights='J\xc3\xb6rg'/>" + TAIL
IPTC = b"\x1c\x02\x19\x00\x05night\x1c\x02\x78\x00\x03cap"
IPTC_BLOCK = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
URL_BLOCK = b"8BIM\x04\x0b\x03url\0\0\0\x08http://a"
THUMBNAIL = b"8BIM\x04\x0c\0\0\0\0\0\x04dark"
PHOTOSHOP = b"Photoshop 3.0\0"


def source(kind: str, xmp: bytes = XMP) -> bytes:
    """A photo with XMP and, in all but a WebP, IPTC and another resource of Photoshop's."""
    blocks = URL_BLOCK + IPTC_BLOCK + THUMBNAIL
    if kind == ".jpg":
        parts = (0xED, PHOTOSHOP + blocks), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)
        return jpeg_with(plain_jpeg(), *parts)
    if kind == ".png":
        text = b"\niptc\n%8d\n%s\n" % (len(blocks), blocks.hex().encode())
        packed = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)
        extra = chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text)) + chunk(b"iTXt", packed)
        return png_file(noise(16, 24, 3), extra=extra)
    stream = io.BytesIO()
    image = Image.fromarray(noise(16, 24, 3))
    if kind == ".webp":
        image.save(stream, "WEBP", xmp=xmp)
    else:
        tags = {700: xmp, 34377: URL_BLOCK + THUMBNAIL, 33723: IPTC.ljust(-(-len(IPTC) // 4) * 4, b"\0")}
        image.save(stream, "TIFF", tiffinfo=tags)
    return stream.getvalue()


def xmp_of(path: Path) -> bytes | None:
    data = path.read_bytes()
    head = b"http://ns.adobe.com/xap/1.0/\0"
    found = [body[len(head) :] for marker, body in jpeg_segments(data) if marker == 0xE1 and body.startswith(head)]
    found += [body for kind, body in riff_chunks(data) if kind == b"XMP "]
    plain = b"XML:com.adobe.xmp" + bytes(5)
    found += [body[len(plain) :] for kind, body in png_chunks(data) if kind == b"iTXt" and body.startswith(plain)]
    if path.suffix == ".tif":
        found += [value for tag, (_, _, value) in parsed(data)[1]["image"].items() if tag == 700]
    assert len(found) <= 1
    return found[0] if found else None


def resources_of(path: Path) -> bytes:
    """Photoshop's resources, IPTC among them."""
    data = path.read_bytes()
    found = b"".join(body[len(PHOTOSHOP) :] for marker, body in jpeg_segments(data) if marker == 0xED)
    head = b"Raw profile type iptc\0\0"
    for kind, body in png_chunks(data):
        if kind == b"zTXt" and body.startswith(head):
            _, name, size, digits = zlib.decompress(body[len(head) :]).split(b"\n", 3)
            assert name == b"iptc"
            found += bytes.fromhex(digits.decode())
            assert len(found) == int(size)
    if path.suffix == ".tif":
        tags = parsed(data)[1]["image"]
        assert tags[33723][:2] == (4, -(-len(IPTC) // 4)), "LONG, as libtiff has it"
        found = IPTC_BLOCK + bytes(len(IPTC) % 2) + tags[34377][2]
        assert tags[33723][2].rstrip(b"\0") == IPTC
    return found


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("kind", FORMATS)
def test_xmp_and_iptc_go_along(tmp_path: Path, said: list[str], kind: str, target: str) -> None:
    path = tmp_path / f"a{target}"
    write_photo(path, read_photo(save(tmp_path, source(kind))))
    assert xmp_of(path) == XMP
    if "webp" in kind + target:
        place = f"{path}: left out: IPTC, Photoshop's resources (a WebP has no place for it)"
        assert said == ([place] if kind != ".webp" else [])
    else:
        assert resources_of(path) == IPTC_BLOCK + bytes(len(IPTC) % 2) + URL_BLOCK, "and no dark thumbnail"
        assert said == []


TIFF_NS = b"http://ns.adobe.com/tiff/1.0/"
EXIF_NS = b"http://ns.adobe.com/exif/1.0/"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<rdf:Description xmlns:tiff='%s' tiff:Orientation='6'/>", b"tiff:Orientation='1'"),
        (b'<rdf:Description xmlns:tiff="%s"\n tiff:Orientation = "6" />', b'tiff:Orientation = "1"'),
        (
            b"<rdf:Description xmlns:tiff='%s'><tiff:Orientation> 6 </tiff:Orientation></rdf:Description>",
            b"<tiff:Orientation> 1 </tiff:Orientation>",
        ),
        (
            b"<rdf:Description xmlns:t='%s' t:Orientation='6' t:ImageWidth='24'/>",
            b"t:Orientation='1' t:ImageWidth='16'",
        ),
    ],
)
def test_orientation_in_xmp_is_applied_and_corrected(tmp_path: Path, kind: str, before: bytes, after: bytes) -> None:
    """Alone, and where EXIF says otherwise, whose word counts."""
    xmp = HEAD + RDF + before % TIFF_NS + TAIL
    photo = read_photo(save(tmp_path, source(kind, xmp)))
    assert photo.pixels.shape == (24, 16, 3)
    for target in FORMATS:
        write_photo(tmp_path / f"a{target}", photo, overwrite=True)
        assert after in (xmp_of(tmp_path / f"a{target}") or b"")
        assert read_photo(tmp_path / f"a{target}").pixels.shape == (24, 16, 3)
    segments = (
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp),
        (0xE1, b"Exif\0\0" + made({"image": {274: (3, 1, b"\3\0")}})),
    )
    photo = read_photo(save(tmp_path, jpeg_with(plain_jpeg(), *segments)))
    assert photo.pixels.shape == (16, 24, 3)
    assert after.replace(b"'16'", b"'24'") in (photo.metadata.xmp or b"")


def test_what_looks_like_an_orientation_stays(tmp_path: Path) -> None:
    for inside in (
        b"<rdf:Description xmlns:o='http://example.org/' o:Orientation='6'/>",
        b"<rdf:Description xmlns:tiff='%s' tiff:OrientationX='6' xtiff:Orientation='6'/>" % TIFF_NS,
        b"<rdf:Description xmlns:tiff='%s' tiff:Orientation='9'/>" % TIFF_NS,
    ):
        xmp = HEAD + RDF + inside + TAIL
        photo = read_photo(save(tmp_path, source(".jpg", xmp)))
        assert photo.pixels.shape == (16, 24, 3)
        assert photo.metadata.xmp == xmp


def extended() -> tuple[bytes, bytes, str]:
    """(a JPEG whose XMP has a second part in three segments, that part, what is in it)."""
    text = "workflow é " * 14000
    rest = b"<x:xmpmeta xmlns:x='adobe:ns:meta/' xmlns:n='urn:n'>" + RDF
    rest += b"<rdf:Description><n:text>" + text.encode() + b"</n:text></rdf:Description></rdf:RDF></x:xmpmeta>"
    name = hashlib.md5(rest).hexdigest().upper().encode()
    note = b"xmlns:xmpNote='http://ns.adobe.com/xmp/note/' xmpNote:HasExtendedXMP='" + name + b"'"
    packet = XMP.replace(b"<rdf:Description ", b"<rdf:Description " + note + b" ")
    head = b"http://ns.adobe.com/xmp/extension/\0" + name
    pieces = [
        (0xE1, head + struct.pack(">II", len(rest), at) + rest[at : at + 65000]) for at in range(0, len(rest), 65000)
    ]
    pieces.reverse()  # any order
    foreign = (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 9, 0) + b"<foreign>")
    data = jpeg_with(plain_jpeg(), foreign, *pieces, (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    return data, rest, text


def test_extended_xmp(tmp_path: Path, said: list[str]) -> None:
    data, rest, text = extended()
    photo = read_photo(save(tmp_path, data))
    for target in FORMATS[1:]:
        write_photo(tmp_path / f"a{target}", photo)
        whole = xmp_of(tmp_path / f"a{target}") or b""
        assert b"dc:rights='J\xc3\xb6rg'" in whole
        assert b"<n:text>" + text.encode() + b"</n:text>" in whole
        assert b"HasExtendedXMP" not in whole
        assert b'xmlns:n="urn:n"' in whole.partition(b"<rdf:Description")[0], "its prefixes come along"
        write_photo(tmp_path / "again.jpg", read_photo(tmp_path / f"a{target}"), overwrite=True)
        assert text.encode() in extension_of(tmp_path / "again.jpg")
    write_photo(tmp_path / "a.jpg", photo)
    assert extension_of(tmp_path / "a.jpg") == rest
    assert b"dc:rights='J\xc3\xb6rg'" in (xmp_of(tmp_path / "a.jpg") or b"")
    assert said == []


def extension_of(path: Path) -> bytes:
    match = re.search(rb"xmpNote:HasExtendedXMP='([0-9A-F]{32})'", xmp_of(path) or b"")
    assert match
    head = b"http://ns.adobe.com/xmp/extension/\0" + match[1]
    whole = b""
    for marker, body in jpeg_segments(path.read_bytes()):
        if marker == 0xE1 and body.startswith(head):
            size, at = struct.unpack(">II", body[len(head) : len(head) + 8])
            assert at == len(whole)
            whole += body[len(head) + 8 :]
    assert len(whole) == size
    assert hashlib.md5(whole).hexdigest().upper().encode() == match[1]
    return whole


def test_extended_xmp_that_is_not_whole(tmp_path: Path, said: list[str]) -> None:
    data, _, _ = extended()
    start = data.index(b"\xff\xe1", 200)
    size = int.from_bytes(data[start + 2 : start + 4], "big")
    write_photo(tmp_path / "a.png", read_photo(save(tmp_path, data[:start] + data[start + 2 + size :])))
    assert b"dc:rights='J\xc3\xb6rg'" in (xmp_of(tmp_path / "a.png") or b"")
    assert said == [f"{tmp_path / 'a.png'}: left out: the second part of XMP (it is damaged)"]


# Comments


@pytest.mark.parametrize(
    ("comment", "text"),
    [(b"hello", "hello"), ("Grüße 夜".encode(), "Grüße 夜"), ("Grüße".encode("latin-1"), "Grüße"), (b"end\0", "end")],
)
def test_comments_of_a_jpeg(tmp_path: Path, said: list[str], comment: bytes, text: str) -> None:
    photo = read_photo(save(tmp_path, jpeg_with(plain_jpeg(), (0xFE, comment), (0xFE, b"second"))))
    write_photo(tmp_path / "a.jpg", photo)
    segments = jpeg_segments((tmp_path / "a.jpg").read_bytes())
    assert [body for marker, body in segments if marker == 0xFE] == [comment, b"second"]
    write_photo(tmp_path / "a.png", photo)
    with Image.open(tmp_path / "a.png") as image:
        image.load()
    found = [body for kind, body in png_chunks((tmp_path / "a.png").read_bytes()) if kind in (b"tEXt", b"iTXt")]
    assert [body.lstrip(b"\0").removeprefix(b"Comment").lstrip(b"\0").decode() for body in found] == [text, "second"]
    write_photo(tmp_path / "again.jpg", read_photo(tmp_path / "a.png"))
    segments = jpeg_segments((tmp_path / "again.jpg").read_bytes())
    assert [body for marker, body in segments if marker == 0xFE] == [text.encode(), b"second"]
    write_photo(tmp_path / "a.tif", photo)
    assert parsed(exif_of(tmp_path / "a.tif"))[1]["image"][270][2] == comment.rstrip(b"\0") + b"\0"
    write_photo(tmp_path / "a.webp", photo)
    assert said == [
        f"{tmp_path / 'a.tif'}: left out: a comment (a TIFF has no place for it)",  # the second
        f"{tmp_path / 'a.webp'}: left out: a comment (a WebP has no place for it)",
    ]


def test_a_comment_takes_no_description_s_place(tmp_path: Path, said: list[str]) -> None:
    exif = made({"image": {270: (2, 6, b"Title\0")}})
    photo = read_photo(save(tmp_path, jpeg_with(plain_jpeg(), (0xE1, b"Exif\0\0" + exif), (0xFE, b"comment"))))
    write_photo(tmp_path / "a.tif", photo)
    assert parsed(exif_of(tmp_path / "a.tif"))[1]["image"][270] == (2, 6, b"Title\0")
    assert said == [f"{tmp_path / 'a.tif'}: left out: a comment (a TIFF has no place for it)"]


def test_text_of_a_png(tmp_path: Path, said: list[str]) -> None:
    chunks = [
        (b"tEXt", b"Title\0N\xe4chte"),
        (b"zTXt", b"Comment\0\0" + zlib.compress("Grüße".encode("latin-1"))),
        (b"iTXt", b"Author\0\0\0de\0Autor\0" + "夜".encode()),
        (b"tEXt", b"bad\nkey\0text"),
    ]
    extra = b"".join(chunk(kind, body) for kind, body in chunks)
    photo = read_photo(save(tmp_path, png_file(noise(16, 24, 3), extra=extra)))
    write_photo(tmp_path / "a.png", photo)
    written = png_chunks((tmp_path / "a.png").read_bytes())
    assert [one for one in written if one[0] in (b"tEXt", b"zTXt", b"iTXt")] == chunks
    write_photo(tmp_path / "a.jpg", photo)
    segments = jpeg_segments((tmp_path / "a.jpg").read_bytes())
    assert [body for marker, body in segments if marker == 0xFE] == ["Grüße".encode()]
    assert said == [f"{tmp_path / 'a.jpg'}: left out: text (Title, Author) (a JPEG has no place for it)"]


# What stays behind


def test_everything_that_a_bmp_cannot_hold_is_said_once(tmp_path: Path, said: list[str]) -> None:
    metadata = Metadata(XMP, None, IPTC, URL_BLOCK, (b"a", b"b"), Resolution(Fraction(300), Fraction(300), "inch"))
    exif = b"Exif\0\0" + made({"image": {271: (2, 4, b"Cam\0")}})
    photo = Photo(np.zeros((4, 4, 3), np.uint8), None, False, SRGB, exif, "PNG", metadata)
    write_photo(tmp_path / "a.bmp", photo)
    assert len(said) == 1
    for word in ("EXIF", "XMP", "IPTC", "Photoshop's resources", "a comment", "a BMP has no place for it"):
        assert word in said[0]
    assert (tmp_path / "a.bmp").read_bytes()[38:46] == struct.pack("<ii", 11811, 11811)


def test_segments_and_chunks_that_nothing_takes_over_are_said(tmp_path: Path, said: list[str]) -> None:
    parts = (
        (0xE2, b"MPF\0" + bytes(20)),
        (0xEB, b"JP\0\1"),
        (0xEB, b"JP\0\2"),
        (0xEC, b"PictureInfo\0x"),
        (0xEE, b"Adobe\0d\0\0\0\0\1"),
    )
    write_photo(tmp_path / "a.jpg", read_photo(save(tmp_path, jpeg_with(plain_jpeg(), *parts))))
    names = "further pictures; content credentials (JUMBF); its APP12 data (PictureInfo)"
    assert said == [f"{tmp_path / 'a.jpg'}: left out: {names}"]
    png = png_file(noise(4, 4, 3), extra=chunk(b"caBX", b"x") + chunk(b"zzZz", b"x") + chunk(b"tIME", bytes(7)))
    write_photo(tmp_path / "a.png", read_photo(save(tmp_path, png)))
    assert said[1:] == [f"{tmp_path / 'a.png'}: left out: content credentials (JUMBF); its 'zzZz' chunk"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_plain_photo_leaves_nothing_behind(tmp_path: Path, said: list[str], suffix: str) -> None:
    for data in (plain_jpeg(), png_file(noise(8, 8, 3))):
        write_photo(tmp_path / f"a{suffix}", read_photo(save(tmp_path, data)), overwrite=True)
    assert said == []
