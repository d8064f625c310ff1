"""What files are called: other formats by their own names, and names with rare suffixes or none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from photo_samples import noise, photo_of
from PIL import Image

from runtime.errors import InputError
from runtime.photo import check_destination, read_photo, write_photo, written_to


def ftyp(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", 4 + len(body)) + body + bytes(64)


def raw_tiff(make: bytes, **tags: int) -> bytes:
    """A TIFF of one tag directory: the maker's name, and a picture that is a reduced one or a sensor's samples."""
    entries = {256: 8, 257: 8, 254: tags.get("subfile", 0), 262: tags.get("photometric", 2)}
    place = 8 + 2 + 12 * (len(entries) + 1) + 4
    body = b"".join(
        struct.pack("<HHII", tag, 4, 1, entries[tag])
        if tag in entries
        else struct.pack("<HHII", tag, 2, len(make), place)
        for tag in sorted([*entries, 271])
    )
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries) + 1) + body + bytes(4) + make


OTHERS = {
    "a Fujifilm RAF, a camera raw file; develop": b"FUJIFILMCCD-RAW 0201FF383501X-T1",
    "an Olympus ORF, a camera raw file; develop": b"IIRO\x08\0\0\0",
    "a Panasonic RW2, a camera raw file; develop": b"IIU\0\x18\0\0\0",
    "a Canon CR2, a camera raw file; develop": b"II*\0\x10\0\0\0CR\2\0",
    "a Canon CR3, a camera raw file; develop": ftyp(b"crx ", b"crx ", b"isom"),
    "a Nikon NEF, a camera raw file; develop": raw_tiff(b"NIKON CORPORATION\0", subfile=1),
    "a Sony ARW, a camera raw file; develop": raw_tiff(b"SONY\0", subfile=1),
    "a Pentax PEF, a camera raw file; develop": raw_tiff(b"PENTAX Corporation\0", photometric=32803),
    "is a camera raw file; develop": raw_tiff(b"Unheard of\0", photometric=34892),
    "a JPEG XL; convert": b"\xff\x0a\xfa\x1f\x01",
    "is a JPEG XL; convert": b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl ",
    "a JPEG 2000; convert": b"\0\0\0\x0cjP  \r\n\x87\n",
    "is a JPEG 2000; convert": b"\xff\x4f\xff\x51\0\x2f",
    "a JPEG XR; convert": b"II\xbc\x01\x20\0\0\0",
    "a big-endian BigTIFF; convert": b"MM\0+\0\x08\0\0" + struct.pack(">Q", 16),
    "a HEIC; convert": ftyp(b"heic", b"mif1", b"heic"),
    "is a HEIC; convert": ftyp(b"mif1", b"mif1", b"heic", b"hevc"),
    "a HEIF; convert": ftyp(b"mif1", b"mif1", b"unci"),
    "a video (QuickTime); convert": ftyp(b"qt  "),
    "a video (MP4); convert": ftyp(b"isom", b"isom", b"mp41"),
    "a video (Matroska or WebM); convert": b"\x1aE\xdf\xa3\x9fB\x86",
    "a GIF; convert": b"GIF89a\x01\0\x01\0",
    "a PDF; convert": b"%PDF-1.7\n",
    "a Photoshop file; convert": b"8BPS\0\1" + bytes(20),
    "an OpenEXR file; convert": b"v/1\x01\x02\0\0\0",
    "a macOS resource file, not the photo whose name it has; convert": b"\0\5\x16\7\0\2\0\0Mac OS X",
}


@pytest.mark.parametrize("brands", [(b"avif", b"avif", b"mif1", b"miaf"), (b"mif1", b"avif", b"miaf")])
def test_what_calls_itself_an_avif_is_read_as_one(tmp_path: Path, brands: tuple[bytes, ...]) -> None:
    (tmp_path / "photo.jpg").write_bytes(ftyp(*brands))
    with pytest.raises(InputError, match="the AVIF file is damaged"):
        read_photo(tmp_path / "photo.jpg")


@pytest.mark.parametrize("what", OTHERS)
def test_other_formats_are_refused_by_their_names(tmp_path: Path, what: str, without_extras: None) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(OTHERS[what].ljust(96, b"\0"))
    with pytest.raises(InputError, match=r"cannot read .*photo.jpg: it is ") as caught:
        read_photo(path)
    assert what in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_photos_are_none_of_them(tmp_path: Path, kind: str) -> None:
    for size in ((1, 1), (17, 300)):
        Image.fromarray(noise(*size, 3)).save(tmp_path / "a", kind)
        assert read_photo(tmp_path / "a").format == kind


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".jfif", "JPEG"),
        (".jpe", "JPEG"),
        (".jif", "JPEG"),
        (".JFIF", "JPEG"),
        (".TIFF", "TIFF"),
        (".TIF", "TIFF"),
        (".dib", "BMP"),
    ],
)
def test_rare_suffixes(tmp_path: Path, suffix: str, kind: str) -> None:
    write_photo(tmp_path / f"a{suffix}", photo_of())
    assert read_photo(tmp_path / f"a{suffix}").format == kind


@pytest.mark.parametrize("name", ["IMG_0001", "IMG_0001.jpg~", "photo.2024-01-02"])
def test_the_name_of_the_photo_itself_needs_no_suffix(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "in" / name, tmp_path / "out" / name
    source.parent.mkdir()
    target.parent.mkdir()
    Image.fromarray(noise(9, 9, 3)).save(source, "WEBP", lossless=True)
    check_destination(target, source=source, overwrite=False)
    photo = read_photo(source, into=target)
    write_photo(target, photo, kind=written_to(target, photo.format))
    assert read_photo(target).format == "WEBP"
    with pytest.raises(InputError, match="suffix"):
        check_destination(tmp_path / "out" / "another", source=source, overwrite=False)
    with pytest.raises(InputError, match="suffix"):
        write_photo(tmp_path / "out" / "another", photo)
    with pytest.raises(InputError, match="exists already"):
        write_photo(target, photo, kind="WEBP")
    with pytest.raises(InputError, match="'GIF'"):
        write_photo(tmp_path / "out" / "another", photo, kind="GIF")
