"""What of a photo's metadata goes into a file of each format, in that format's form, and what cannot."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import exif, ifd, jpeg, png_metadata, resolution, resources, xmp
from .ifd import Block
from .photo import Photo

_DESCRIPTION = 270
_PLACES = {
    "JPEG": "a JPEG",
    "PNG": "a PNG",
    "TIFF": "a TIFF",
    "WEBP": "a WebP",
    "BMP": "a BMP",
    "AVIF": "an AVIF",
    "HEIC": "a HEIC",
}

_MOST_SHOWN = 5


@dataclass
class Lost:
    """What stays behind, for one line of the log."""

    kind: str
    """The format that is written."""
    no_place: list[str] = field(default_factory=list)
    """What this format has no place for."""
    others: list[str] = field(default_factory=list)
    """Everything else, each with its reason."""

    def __str__(self) -> str:
        """Empty where nothing does."""
        parts = [f"{', '.join(self.no_place)} ({_PLACES[self.kind]} has no place for it)"] if self.no_place else []
        others = list(dict.fromkeys(self.others))
        if len(others) > _MOST_SHOWN:
            others[_MOST_SHOWN:] = [f"{len(others) - _MOST_SHOWN} more"]
        return "; ".join([*parts, *others])


def for_jpeg(photo: Photo) -> tuple[list[tuple[int, bytes]], bytes | None, Lost]:
    """(segments, density of the JFIF header, what is lost)."""
    meta, lost, block = photo.metadata, *_begin(photo, "JPEG")
    parts = []
    data = _exif_bytes(photo, block)
    if data and block and len(data) > jpeg.MOST_BYTES:
        lost.others.extend(exif.shrunk(block, jpeg.MOST_BYTES))
        data = exif.to_bytes(block)
    if data:
        parts.append(jpeg.exif_segment(data))
    if meta.xmp:
        packet = _sized(meta.xmp, photo)
        if meta.xmp_extension and len(packet) <= xmp.MOST_JPEG_BYTES:
            parts.extend(jpeg.xmp_segments(packet, meta.xmp_extension))
        else:
            parts.extend(jpeg.xmp_segments(*xmp.split(packet)))
    if blocks := resources.joined(meta.iptc, meta.resources):
        parts.extend(jpeg.resource_segments(blocks))
    said, texts = png_metadata.comments(meta.text, jpeg.MOST_BYTES)
    _text(texts, lost)
    for comment in (*meta.comments, *said):
        if len(comment) <= jpeg.MOST_BYTES:
            parts.append(jpeg.comment_segment(comment))
        else:
            lost.others.append(f"a comment of {len(comment)} bytes (a JPEG's ends at {jpeg.MOST_BYTES})")
    density = _header(photo, block)
    return parts, resolution.jfif(density) if density else None, lost


def for_png(photo: Photo) -> tuple[list[png_metadata.Chunk], Lost]:
    """(chunks, what is lost)."""
    meta, lost, block = photo.metadata, *_begin(photo, "PNG")
    chunks: list[png_metadata.Chunk] = []
    density = _header(photo, block)
    if density and (phys := resolution.phys(density)):
        chunks.append((b"pHYs", phys))
    if data := _exif_bytes(photo, block):
        chunks.append((b"eXIf", data.removeprefix(b"Exif\0\0")))
    if packet := _packet(photo, lost):
        chunks.append(png_metadata.xmp_chunk(packet))
    if blocks := resources.joined(meta.iptc, meta.resources):
        chunks.append(png_metadata.resources_chunk(blocks))
    chunks.extend(meta.text)
    chunks.extend(png_metadata.comment_chunk(comment) for comment in meta.comments)
    return chunks, lost


def for_boxes(photo: Photo, kind: str) -> tuple[bytes | None, bytes | None, Lost]:
    """(EXIF, XMP, what is lost) for the formats that have these two alone: WebP, AVIF and HEIC."""
    lost, block = _begin(photo, kind)
    data, added = _exif_bytes(photo, block), _with_resolution(photo, block, lost)
    if added is not None:
        data = exif.to_bytes(added)
    if kind == "AVIF" and block is not None and exif.ORIENTATION in block.tags:
        del block.tags[exif.ORIENTATION]
        data = exif.to_bytes(block)  # Pillow would take it out, and write all of EXIF anew
    packet = _packet(photo, lost)
    _no_resources(photo, lost)
    _no_text(photo, lost)
    return data, packet, lost


def for_tiff(photo: Photo) -> tuple[Block, Lost]:
    """(the file's tags but for those of its pixels, what is lost)."""
    meta, lost, block = photo.metadata, *_begin(photo, "TIFF")
    block = _with_resolution(photo, block, lost) or block or Block()
    block.tags = {number: tag for number, tag in block.tags.items() if number not in exif.STORAGE}
    if packet := _packet(photo, lost):
        block.tags[exif.XMP] = ifd.Tag(ifd.BYTE, len(packet), packet)
    if meta.iptc:
        # of the type LONG, in which libtiff and others look for it, and for all that in the order of bytes
        words = -(-len(meta.iptc) // 4)
        block.tags[exif.IPTC] = ifd.Tag(ifd.LONG, words, meta.iptc.ljust(4 * words, b"\0"))
    if meta.resources:
        block.tags[exif.RESOURCES] = ifd.Tag(ifd.BYTE, len(meta.resources), meta.resources)
    said, texts = png_metadata.comments(meta.text, jpeg.MOST_BYTES)
    comments = [*meta.comments, *said]
    if comments and not _text_of(block):
        text = comments.pop(0).rstrip(b"\0") + b"\0"
        block.tags[_DESCRIPTION] = ifd.Tag(ifd.ASCII, len(text), text)
    comments = [comment for comment in comments if comment.rstrip(b"\0") != _text_of(block)]
    lost.no_place.extend(["a comment"] * bool(comments))
    _text(texts, lost)
    return block, lost


def for_bmp(photo: Photo) -> tuple[bytes, Lost]:
    """(the 8 bytes of the header that hold the resolution, what is lost)."""
    meta, (lost, block) = photo.metadata, _begin(photo, "BMP")
    told = block is not None and not block.tags.keys() <= exif.PRINTED_SIZE
    brought = {"EXIF": told, "XMP": meta.xmp}
    lost.no_place.extend(name for name, data in brought.items() if data)
    _no_resources(photo, lost)
    _no_text(photo, lost)
    density = _header(photo, block)
    return (density and resolution.bmp(density)) or bytes(8), lost


def _begin(photo: Photo, kind: str) -> tuple[Lost, Block | None]:
    lost = Lost(kind, others=list(photo.metadata.left_out))
    return lost, exif.of_bytes(photo.exif, lost.others) if photo.exif else None


def _exif_bytes(photo: Photo, block: Block | None) -> bytes | None:
    """As the photo has it, where that is whole and the picture has the size that it tells."""
    if block is None or not block.tags:
        return None
    changed = exif.sized(block, photo.pixels.shape[1], photo.pixels.shape[0])
    return exif.to_bytes(block) if changed or block.lost else photo.exif


def _with_resolution(photo: Photo, block: Block | None, lost: Lost) -> Block | None:
    """EXIF that holds the resolution of the file's header too; None where there is nothing to add."""
    header = photo.metadata.resolution
    if header is None:
        return None
    told = resolution.of_tags(block) if block is not None else None
    if told is None:
        block = block or Block()
        resolution.add_tags(block, header)
        return block
    if not told.same(header):
        lost.others.append(f"the resolution of the file's header, {header} (that of EXIF, {told}, is kept)")
    return None


def _header(photo: Photo, block: Block | None) -> resolution.Resolution | None:
    return photo.metadata.resolution or (resolution.of_tags(block) if block is not None else None)


def _sized(packet: bytes, photo: Photo) -> bytes:
    return xmp.sized(packet, photo.pixels.shape[1], photo.pixels.shape[0])


def _packet(photo: Photo, lost: Lost) -> bytes | None:
    """XMP in one piece."""
    packet, extension = photo.metadata.xmp, photo.metadata.xmp_extension
    if packet and extension:
        whole = xmp.merged(packet, extension)
        if whole is None:
            lost.others.append("the second part of XMP (it does not fit to the first)")
        packet = whole or packet
    return _sized(packet, photo) if packet else None


def _no_resources(photo: Photo, lost: Lost) -> None:
    meta = photo.metadata
    lost.no_place.extend(
        name for name, data in (("IPTC", meta.iptc), ("Photoshop's resources", meta.resources)) if data
    )


def _no_text(photo: Photo, lost: Lost) -> None:
    lost.no_place.extend(["a comment"] * bool(photo.metadata.comments))
    _text([data.split(b"\0", 1)[0].decode("latin-1") for _, data in photo.metadata.text], lost)


def _text(names: list[str], lost: Lost) -> None:
    if names:
        shown = list(dict.fromkeys(name for name in names if name.isprintable()))
        more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        lost.no_place.append(f"text ({', '.join(shown[:5])}{more})")


def _text_of(block: Block) -> bytes:
    tag = block.tags.get(_DESCRIPTION)
    return tag.value.strip(b"\0 ") if isinstance(tag, ifd.Tag) else b""
