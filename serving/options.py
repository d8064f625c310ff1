"""How a client asks for its picture, by the query or by the parameters of an inference request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.errors import InputError
from runtime.photo import SUFFIXES

NAMES = ("sampling", "format", "quality")
MEDIA_TYPES = {kind: f"image/{kind.lower()}" for kind in SUFFIXES.values()}
"""By the name that ``Photo.format`` has."""


@dataclass(frozen=True)
class PhotoOptions:
    """Of one photo."""

    sampling: str
    kind: str | None = None
    """The format that is sent back; None: the photo's own."""
    quality: int | None = None
    """1 to 100, of JPEG and WebP."""


def photo_options(given: Mapping[str, Any], samplings: Collection[str], default: str) -> PhotoOptions:
    """Of ``given``, whose values may be of any type; other names in it are not looked at.

    samplings: the package's; default: the one where none is asked for. Raises InputError.
    """
    sampling = given.get("sampling", default)
    if sampling not in list(samplings):  # what was given may be of any type
        raise InputError(f"the sampling {sampling!r} is not known here; use one of {', '.join(samplings)}.")
    kind = given.get("format")
    if kind is not None and f".{kind}".lower() not in SUFFIXES:
        names = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise InputError(f"the format {kind!r} is not known; use one of {names}.")
    quality = given.get("quality")
    if quality is not None:
        if not str(quality).isdecimal() or not 1 <= int(quality) <= 100:
            raise InputError(f"the quality {quality!r} is not a whole number from 1 to 100.")
        quality = int(quality)
    return PhotoOptions(sampling, None if kind is None else SUFFIXES[f".{kind}".lower()], quality)
