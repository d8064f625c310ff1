"""What the engine worker does for a request: its bytes to pixels before the engine, pixels to its answer behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime import Enhancer
from runtime.errors import InputError, OutOfMemoryError, TooLargeError
from runtime.photo import Photo, encode_photo, read_photo

from . import tensors
from .options import MEDIA_TYPES, PhotoOptions, photo_options
from .settings import EngineSettings

Pixels = NDArray[Any]
"""(H, W, 3) uint8 or uint16, RGB."""


@dataclass(frozen=True)
class Answer:
    """What a client gets."""

    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """A request that is ready for the engine."""

    pixels: Pixels
    sampling: str
    finish: Callable[[Pixels], Answer]
    """From the engine's picture to the answer."""


class Bench:
    """Makes Work of requests. Raises InputError for what a client sent, TooLargeError and UnsupportedFormatError among
    them."""

    def __init__(self, enhancer: Enhancer, settings: EngineSettings) -> None:
        self._enhancer, self._settings = enhancer, settings

    def prepare(self, header: Mapping[str, Any], content: bytes) -> Work:
        if header["task"] == "infer":
            return self._infer(header["json_bytes"], content)
        options = PhotoOptions(**header["options"])
        photo = self._read(content, options)
        kind = options.kind or photo.format
        media = {"content-type": MEDIA_TYPES[kind]}
        return Work(
            photo.pixels, options.sampling, lambda bright: Answer(_file(photo, bright, kind, options.quality), media)
        )

    def _infer(self, json_bytes: int | None, content: bytes) -> Work:
        request = tensors.parse(content, json_bytes)
        options = photo_options(request.parameters, self._enhancer.manifest.samplings, self._settings.sampling)
        if request.kind.datatype != "BYTES":
            self._check_pixels(*request.size())
            pixels = request.pixels()
            self._check(options, *request.size(), 8 * pixels.itemsize)
            return Work(pixels, options.sampling, lambda bright: Answer(*request.answer(bright)))
        photo = self._read(request.photo(), options)
        kind = options.kind or photo.format
        return Work(
            photo.pixels,
            options.sampling,
            lambda bright: Answer(*request.answer(_file(photo, bright, kind, options.quality))),
        )

    def _read(self, content: bytes, options: PhotoOptions) -> Photo:
        return read_photo(
            content,
            max_pixels=self._settings.max_pixels,
            check=lambda width, height, depth: self._check(options, width, height, depth),
            into=options.kind,
        )

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > self._settings.max_pixels:
            most = self._settings.max_pixels / 1e6
            raise TooLargeError(f"the tensor has {width} x {height} pixels, above the limit of {most:.1f} megapixels.")

    def _check(self, options: PhotoOptions, width: int, height: int, depth: int) -> None:
        """Whether the machine's memory is enough. depth: bits a sample."""
        try:
            self._enhancer.plan(width, height, sampling=options.sampling, dtype=np.uint16 if depth == 16 else np.uint8)
        except (InputError, OutOfMemoryError) as error:
            raise TooLargeError(str(error)) from error


def _file(photo: Photo, bright: Pixels, kind: str, quality: int | None) -> bytes:
    return encode_photo(photo.with_pixels(bright), kind, quality=quality)
