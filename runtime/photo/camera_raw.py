"""Camera raw files, developed by rawpy (LibRaw), which is imported by the first one. They are read, never written."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from ..errors import UnsupportedFormatError
from . import jpeg, tiff
from .colour import Colour
from .metadata import Found
from .opened import Opened

_ROTATED = {5: 8, 6: 6, 3: 3}  # LibRaw's flip as EXIF orientation
_SENSOR = frozenset({33421, 33422, *range(50706, 53000)})
"""Tags that say how the sensor's samples become colours: the DNG specification's, and its mosaic's."""
_SRGB_GAMMA = (2.4, 12.92)
_TIFFS = (b"II*\0", b"MM\0*")


def open_file(file: BinaryIO, path: Path, what: str, *, deep: bool) -> Opened:
    """``file``, not developed yet, which is ``what``; path: its name in a message. deep: it is developed to 16 bits a
    sample, else to 8. Raises
    UnsupportedFormatError without rawpy.

    The camera's white balance, sRGB, upright. White balance scales the colours up, and would clip what the sensor had
    not: LibRaw's highlight mode "blend" scales them down instead, and its automatic brightening, which clips a
    hundredth of the pixels, is off. So the picture is darker than the camera's own JPEG, and its highlights are whole.
    """
    file.seek(0)
    data = file.read()
    try:
        import rawpy
    except ImportError as error:
        cure = "develop it to TIFF or JPEG first, or run: pip install rawpy"
        raise UnsupportedFormatError(f"cannot read {path}: it is {what}; {cure}") from error
    raw = rawpy.imread(io.BytesIO(data))
    sizes = raw.sizes

    def load() -> NDArray[Any]:
        with raw:
            samples: NDArray[Any] = raw.postprocess(
                use_camera_wb=True,
                no_auto_bright=True,
                highlight_mode=rawpy.HighlightMode.Blend,
                output_color=rawpy.ColorSpace.sRGB,
                gamma=_SRGB_GAMMA,
                output_bps=16 if deep else 8,
            )
        return samples[..., None] if samples.ndim == 2 else samples

    return Opened(
        size=(sizes.iwidth, sizes.iheight),
        depth=16 if deep else 8,
        load=load,
        found=_metadata(data, raw),
        turn=_ROTATED.get(sizes.flip, 1),
        own=Colour(srgb=b"\0"),
        written_as="TIFF",
    )


def _metadata(data: bytes, raw: Any) -> Found:
    """From the file's own tags, where it is a TIFF, else from the preview in it."""
    if data[:4] in _TIFFS:
        found = tiff.found(io.BytesIO(data))
        if found.exif is not None:
            found.exif.tags = {number: tag for number, tag in found.exif.tags.items() if number not in _SENSOR}
        return found
    with suppress(Exception):  # a preview that is damaged, or none
        preview = raw.extract_thumb()
        if isinstance(preview.data, bytes):
            found = jpeg.found(io.BytesIO(preview.data))
            return Found(found.exif, found.xmp, iptc=found.iptc, left_out=found.left_out)
    return Found(left_out=["EXIF (this raw format's is not read)"])
