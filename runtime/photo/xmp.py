"""XMP packets as text: what has to be true of an upright picture, and the two parts that a JPEG splits a long one into.

A packet is not parsed and written anew: everything but the values concerned keeps its bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

_TIFF, _EXIF, _NOTE = (
    f"http://ns.adobe.com/{name}/".encode() for name in ("tiff/1.0", "exif/1.0", "xmp/note")
)  # fmt: skip
_RDF = b"http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NAME = rb"[A-Za-z_][\w.\-]*"
_DECLARED = re.compile(rb"xmlns:(" + _NAME + rb")\s*=\s*([\"'])([^\"'<>]*)\2")
_MOST_PREFIXES = 8
MOST_JPEG_BYTES = 65502
"""What one segment of a JPEG holds."""


def orientation(packet: bytes) -> int | None:
    """tiff:Orientation, 1 to 8; None where the packet has none of these."""
    for match in _values(packet, _TIFF, b"Orientation"):
        if match["value"] in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"):
            return int(match["value"])
    return None


def upright(packet: bytes) -> bytes:
    """``packet`` with orientation 1 where it has one."""
    return packet if orientation(packet) in (None, 1) else _with(packet, _TIFF, {b"Orientation": 1})


def sized(packet: bytes, width: int, height: int) -> bytes:
    """``packet`` with the picture's width and height where it tells them."""
    packet = _with(packet, _TIFF, {b"ImageWidth": width, b"ImageLength": height})
    return _with(packet, _EXIF, {b"PixelXDimension": width, b"PixelYDimension": height})


def _values(packet: bytes, namespace: bytes, name: bytes) -> list[re.Match[bytes]]:
    """Where the property stands, as an attribute or an element, under every prefix that ``namespace`` has."""
    found: list[re.Match[bytes]] = []
    for prefix in _prefixes(packet, namespace):
        full = re.escape(prefix + b":" + name)
        found += re.finditer(rb"\s" + full + rb"\s*=\s*([\"'])\s*(?P<value>[0-9]{1,9})\s*\1", packet)
        found += re.finditer(rb"<" + full + rb"(?:\s[^<>]*)?>\s*(?P<value>[0-9]{1,9})\s*</", packet)
    return sorted(found, key=lambda match: match.start("value"))


def _with(packet: bytes, namespace: bytes, values: Mapping[bytes, int]) -> bytes:
    for name, value in values.items():
        parts, at = [], 0
        for match in _values(packet, namespace, name):
            parts += [packet[at : match.start("value")], str(value).encode()]
            at = match.end("value")
        packet = b"".join([*parts, packet[at:]])
    return packet


def _prefixes(packet: bytes, namespace: bytes) -> list[bytes]:
    """The prefixes that mean ``namespace``, of which a hostile packet may declare any number."""
    found = dict.fromkeys(match[1] for match in _DECLARED.finditer(packet) if match[3] == namespace)
    return list(found)[:_MOST_PREFIXES]


def extension_of(packet: bytes) -> bytes | None:
    """The name (32 hexadecimal digits, the MD5) of the rest that ``packet`` says it has in a JPEG."""
    for match in _extended(packet):
        return match["value"]
    return None


def _extended(packet: bytes) -> list[re.Match[bytes]]:
    found: list[re.Match[bytes]] = []
    for prefix in _prefixes(packet, _NOTE):
        full, digits = re.escape(prefix) + rb":HasExtendedXMP", rb"(?P<value>[0-9A-Fa-f]{32})"
        found += re.finditer(rb"\s" + full + rb"\s*=\s*([\"'])" + digits + rb"\1", packet)
        found += re.finditer(rb"<" + full + rb"\s*>" + digits + rb"</" + full + rb"\s*>", packet)
    return found


def merged(packet: bytes, extension: bytes) -> bytes | None:
    """One packet with what both say; None where ``extension`` is not RDF or gives a prefix another meaning."""
    rest, body = _rdf(extension), _rdf(packet)
    if rest is None or body is None:
        return None
    outside, known = dict(_pairs(rest[0])), dict(_pairs(body[0]))
    if any(known.get(prefix, uri) != uri for prefix, uri in outside.items()):
        return None
    added = b"".join(b" xmlns:" + prefix + b'="' + uri + b'"' for prefix, uri in outside.items() if prefix not in known)
    begin, inner, end = body
    for match in _extended(inner)[:1]:
        inner = inner[: match.start()] + inner[match.end() :]
    return begin[:-1] + added + b">" + inner + rest[1] + end


def split(packet: bytes) -> tuple[bytes, bytes | None]:
    """``packet`` as a JPEG holds it: itself, or a short one and the rest that it names. A long one is put whole into
    the rest: of what is in it, nothing says what a reader of short packets would miss most."""
    if len(packet) <= MOST_JPEG_BYTES:
        return packet, None
    rest = re.sub(rb"<\?xpacket[^<>]*>", b"", packet).strip()
    name = hashlib.md5(rest, usedforsecurity=False).hexdigest().upper().encode()
    short = (
        b"<?xpacket begin='\xef\xbb\xbf' id='W5M0MpCehiHzreSzNTczkc9d'?>\n<x:xmpmeta xmlns:x='adobe:ns:meta/'>"
        b"<rdf:RDF xmlns:rdf='" + _RDF + b"'><rdf:Description rdf:about='' xmlns:xmpNote='" + _NOTE + b"' "
        b"xmpNote:HasExtendedXMP='" + name + b"'/></rdf:RDF></x:xmpmeta>\n<?xpacket end='w'?>"
    )
    return short, rest


def _rdf(packet: bytes) -> tuple[bytes, bytes, bytes] | None:
    """What stands up to the end of the tag <rdf:RDF ...>, inside, and from its closing tag on; None without it."""
    opened = re.search(rb"<(" + _NAME + rb"):RDF(?:\s[^<>]*)?>", packet)
    end = packet.rfind(b"</" + opened[1] + b":RDF") if opened else -1
    if opened is None or end < opened.end():
        return None
    return packet[: opened.end()], packet[opened.end() : end], packet[end:]


def _pairs(text: bytes) -> list[tuple[bytes, bytes]]:
    return [(match[1], match[3]) for match in _DECLARED.finditer(text)]
