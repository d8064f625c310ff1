"""A PNG's chunks: what they bring with a photo, and what goes into a new file.

EXIF and IPTC may also be written in hexadecimal digits into a text chunk: ImageMagick's "raw profiles", which are the
only place that IPTC has in a PNG.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from . import exif, resources
from .metadata import Found
from .resolution import of_phys

_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
_RAW = b"Raw profile type "
_PROFILES = (b"exif", b"APP1", b"xmp", b"iptc", b"8bim", b"photoshop")
_APP1_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# of the pixels and their colours, and the time of a change that is another one now
_STORAGE = (
    b"tRNS", b"bKGD", b"hIST", b"sPLT", b"sBIT", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"mDCv",
    b"cLLi", b"tIME", b"iDOT", b"acTL", b"fcTL", b"fdAT",
)  # fmt: skip
_NAMES = {b"caBX": "content credentials (JUMBF)"}
_MOST_BYTES = 64 * 2**20
_MOST_CHUNKS = 65536

Chunk = tuple[bytes, bytes]
"""Kind and data."""


def found(file: BinaryIO) -> Found:
    """What the PNG ``file`` brings."""
    all_of = Found()
    raw: dict[bytes, bytes] = {}
    unread = {_XMP, *(_RAW + name for name in _PROFILES)}  # each is unpacked once, however often it comes
    for kind, data in _chunks(file, all_of.left_out):
        keyword = data.split(b"\0", 1)[0]
        if kind == b"eXIf":
            all_of.exif = all_of.exif or exif.of_bytes(data, all_of.left_out)
        elif kind == b"pHYs":
            all_of.resolution = of_phys(data)
        elif kind in _TEXT and keyword in unread:
            unread.remove(keyword)
            words = content(kind, data, _MOST_BYTES)
            if keyword == _XMP:
                all_of.xmp = words
            elif profile := _profile(words):
                raw[keyword[len(_RAW) :]] = profile
            if words is None:
                all_of.left_out.append(f"its text {keyword.decode()!r} (it is damaged)")
        elif kind in _TEXT:
            all_of.text.append((kind, data))
        else:
            all_of.left_out.append(_NAMES.get(kind, f"its {kind.decode('latin-1')!r} chunk"))
    _take_raw(all_of, raw)
    return all_of


def _take_raw(all_of: Found, raw: dict[bytes, bytes]) -> None:
    app1 = raw.get(b"APP1", b"")
    packet = app1[len(_APP1_XMP) :] if app1.startswith(_APP1_XMP) else raw.get(b"xmp")
    data = raw.get(b"exif") or (app1 if not app1.startswith(_APP1_XMP) else b"")
    if all_of.exif is None and data:
        all_of.exif = exif.of_bytes(data, all_of.left_out)
    all_of.xmp = all_of.xmp or packet
    for name in (b"8bim", b"photoshop", b"iptc"):
        data = raw.get(name, b"")
        iptc, others = resources.divided(data)
        all_of.iptc = all_of.iptc or iptc or resources.records(data) or None
        all_of.resources = all_of.resources or others


def _chunks(file: BinaryIO, left_out: list[str]) -> Iterator[Chunk]:
    """The chunks that do not only say how the pixels are stored, wherever they stand."""
    position, room = 8, _MOST_BYTES
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or kind == b"IEND":
            return
        if kind[0] & 0x20 and kind not in _STORAGE:
            if length > room:
                left_out.append(f"a {kind.decode('latin-1')!r} chunk of {length} bytes")
            else:
                room -= length
                data = file.read(length)
                if len(data) < length:
                    return
                if zlib.crc32(data, zlib.crc32(kind)) == int.from_bytes(file.read(4), "big"):
                    yield kind, data
                else:
                    left_out.append(f"its {kind.decode('latin-1')} chunk (it is damaged)")
        position += 12 + length


def content(kind: bytes, data: bytes, most: int) -> bytes | None:
    """The text of a text chunk: Latin-1 but for iTXt's, which is UTF-8. None where it is damaged or longer than
    ``most`` bytes."""
    text = data.partition(b"\0")[2]
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed = text[:1] == b"\1"
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        text = text[1:]
    if packed:
        try:
            unpack = zlib.decompressobj()
            text = unpack.decompress(text, most + 1)
        except zlib.error:
            return None
    return text if len(text) <= most else None


def _profile(text: bytes | None) -> bytes | None:
    """The bytes of a raw profile: a name, their number and hexadecimal digits, each on lines of its own."""
    lines = (text or b"").strip().split(b"\n", 2)
    if len(lines) < 3:
        return None
    try:
        size = int(lines[1])
        data = bytes.fromhex(lines[2].decode("ascii"))
    except ValueError:
        return None
    return data[:size] if 0 < size <= len(data) else None


def xmp_chunk(packet: bytes) -> Chunk:
    """An XMP packet's."""
    return b"iTXt", _XMP + bytes(5) + packet


def resources_chunk(blocks: bytes) -> Chunk:
    """That of Photoshop's image resources."""
    digits = blocks.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = b"\niptc\n%8d\n%s\n" % (len(blocks), lines)
    return b"zTXt", _RAW + b"iptc\0\0" + zlib.compress(text)


def comment_chunk(comment: bytes) -> Chunk:
    """That of a JPEG's comment, which nobody says the charset of: UTF-8 where it can be, else Latin-1."""
    try:
        text = comment.decode("utf-8")
    except UnicodeDecodeError:
        text = comment.decode("latin-1")
    text = text.replace("\0", "")
    if text.isascii():
        return b"tEXt", b"Comment\0" + text.encode()
    return b"iTXt", b"Comment" + bytes(5) + text.encode()


def comments(text: Iterable[Chunk], most: int) -> tuple[list[bytes], list[str]]:
    """(the comments in a PNG's text, UTF-8, of at most ``most`` bytes each; the keywords of everything else)."""
    said, others = [], []
    for kind, data in text:
        keyword = data.split(b"\0", 1)[0].decode("latin-1")
        words = content(kind, data, most) if keyword.lower() == "comment" else None
        if words is None:
            others.append(keyword)
        else:
            said.append(words if kind == b"iTXt" else words.decode("latin-1").encode())
    return said, others
