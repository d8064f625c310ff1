"""What a file is, by its first bytes: the formats that are read, and the names of those that are not."""

from __future__ import annotations

import re

HEAD_BYTES = 64
"""So many bytes of the beginning of a file are looked at."""

_READ = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0"),
    "BMP": (b"BM",),
}
CONVERT = "convert it to JPEG, PNG, TIFF, WebP or BMP"
"""The cure for a file of another format."""
_RAWS = (  # what begins like a TIFF, or not at all like one; NEF, ARW, PEF and DNG are TIFFs that tiff.py tells by tags
    (0, b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (0, b"IIRO", "Olympus ORF"),
    (0, b"IIRS", "Olympus ORF"),
    (0, b"MMOR", "Olympus ORF"),
    (0, b"IIU\0", "Panasonic RW2"),
    (8, b"CR\2", "Canon CR2"),
    (6, b"HEAPCCDR", "Canon CRW"),
    (0, b"FOVb", "Sigma X3F"),
    (0, b"\0MRM", "Minolta MRW"),
    (8, b"IIII", "Phase One IIQ"),
    (8, b"MMMM", "Phase One IIQ"),
)
_RAW_TIFFS = (
    "Nikon NEF",
    "Sony ARW",
    "Pentax PEF",
    "Ricoh PEF",
    "Samsung SRW",
    "Hasselblad 3FR",
    "Epson ERF",
    "Kodak DCR",
)
_OTHERS = (
    (0, b"GIF8", "a GIF"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "a PDF"),
    (0, b"\0\0\0\x0cjP", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"II\xbc", "a JPEG XR"),
    (0, b"MM\0+", "a big-endian BigTIFF"),
    (0, b"v/1\1", "an OpenEXR file"),
    (0, b"#?RADIANCE", "a Radiance HDR"),
    (0, b"#?RGBE", "a Radiance HDR"),
    (0, b"gimp xcf", "a GIMP file"),
    (0, b"qoif", "a QOI"),
    (0, b"BPG\xfb", "a BPG"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"\x8aMNG", "an MNG animation"),
    (0, b"\x8bJNG", "a JNG"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"\0\0\2\0", "a cursor"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (8, b"AVI ", "a video (AVI)"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\0\5\x16\7", "a macOS resource file, not the photo whose name it has"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the photo itself"),
)
_BRANDS = (  # of ISO base media files, by the first that fits among the major brand and the compatible ones
    ((b"jxl ",), "a JPEG XL"),
    ((b"avif", b"avis"), "an AVIF"),
    ((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "a HEIC"),
    ((b"mif1", b"msf1", b"miaf"), "a HEIF"),
    ((b"qt  ",), "a video (QuickTime)"),
)
_ISO_READ = {"an AVIF": "AVIF", "a HEIC": "HEIC", "a HEIF": "HEIC"}


def kind_of(head: bytes) -> str | None:
    """ "JPEG", "PNG", "TIFF", "WEBP", "BMP", "AVIF", "HEIC" or "RAW" (a camera's, but for those that begin like a
    TIFF) by the first HEAD_BYTES of a file; None for anything else."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if raw_by_head(head) is not None:
        return "RAW"
    if head[4:8] == b"ftyp" and _iso_media(head) in _ISO_READ:
        return _ISO_READ[_iso_media(head)]
    if other(head) is not None:
        return None
    return next((kind for kind, begins in _READ.items() if head.startswith(begins)), None)


def other(head: bytes) -> str | None:
    """What a file of another format is, in words, and the cure after a semicolon; None where it is not known."""
    if head[4:8] == b"ftyp":
        return f"{_iso_media(head)}; {CONVERT}"
    return next((f"{name}; {CONVERT}" for at, signature, name in _OTHERS if head.startswith(signature, at)), None)


def raw_by_head(head: bytes) -> str | None:
    """What a camera raw file is, in words, by its first HEAD_BYTES; None for anything else, and where it begins
    like any TIFF."""
    for offset, signature, name in _RAWS:
        if head.startswith(signature, offset) and (offset == 0 or head[:2] in (b"II", b"MM")):
            return raw(name)
    return raw("Canon CR3") if head[4:8] == b"ftyp" and b"crx " in _brands(head) else None


def _brands(head: bytes) -> list[bytes]:
    return [head[8:12], *re.findall(b"....", head[16 : int.from_bytes(head[:4], "big")], re.DOTALL)]


def _iso_media(head: bytes) -> str:
    brands = _brands(head)
    return next((name for known, name in _BRANDS if any(brand in known for brand in brands)), "a video (MP4)")


def raw(name: str | None) -> str:
    """A camera raw file in words; name: its maker and format, such as "Nikon NEF", where known."""
    return f"{f'{_article(name)} {name}, ' if name else ''}a camera raw file"


def raw_of_make(make: str) -> str | None:
    """The raw format that a camera's maker, by the tag Make of a TIFF, writes as a TIFF; None where not known."""
    return next((name for name in _RAW_TIFFS if make.upper().startswith(name.split()[0].upper())), None)


def _article(word: str) -> str:
    return "an" if word[0] in "AEIOU" else "a"
