"""Read a photo file: the file itself; what is in it is read by decode.py."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .photo import Photo


def read_photo(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = 100_000_000,
    check: Callable[[int, int, int], object] | None = None,
) -> Photo:
    """Read a JPEG, PNG, TIFF, WebP or BMP file, told by its content and not by its name.

    Returns an upright ``Photo``; its pixels are uint16 where the file holds 16-bit samples, else uint8.
    ``max_pixels`` (at most 178 megapixels, where Pillow refuses) is checked before decoding. ``check`` is called
    before decoding too, with width, height and bits a sample (8 or 16); what it raises as InputError goes on with
    the path in front.

    Raises InputError, with the path and what to do, for every file that cannot be used: missing, a
    folder, unreadable, empty, another format, too large, damaged or cut short, with several pictures,
    or of a kind that 8 or 16 bit RGB does not hold (float, 32 bit, 16-bit CMYK).
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"cannot read {path}: it is a folder; name a photo in it")
        if not stat.S_ISREG(mode):
            raise InputError(f"cannot read {path}: it is not a regular file; save it to one first")
        with path.open("rb") as file:
            try:
                from .decode import decode
            except ImportError as error:
                raise InputError(f"cannot read {path}: {error}; run: pip install pillow") from error
            return decode(file, path, max_pixels=max_pixels, check=check)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"cannot read {path}: it does not exist; check the name") from None
    except PermissionError:
        raise InputError(f"cannot read {path}: permission denied; change its permissions") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; check the name and the disk") from error
