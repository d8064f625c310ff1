"""What a calibration shows: quality over calls, and sheets of photos, drawn with Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .choice import Bar, Row
from .score import Score

_WIDE, _HIGH, _EDGE, _LINE = 360, 220, 52, 18
_PUBLISHED, _FOUND, _EVEN, _INK, _GRID = (90, 140, 90), (66, 112, 166), (200, 80, 60), (30, 30, 30), (215, 215, 215)
_SHEET = 320  # pixels a picture, in width

Array = NDArray[Any]
Point = tuple[float, float]
Series = list[tuple[tuple[int, int, int], list[Point]]]


def plot(found: Sequence[Row], even: Sequence[Row], bar: Bar) -> bytes:
    """PNG: PSNR and SSIM over calls, of the samplings found, of evenly spaced ones, and the published one's line."""
    image = Image.new("RGB", (2 * (_WIDE + 2 * _EDGE), _HIGH + 2 * _EDGE + 2 * _LINE), "white")
    draw = ImageDraw.Draw(image)
    pick: list[tuple[str, Callable[[Score], float], str]] = [
        ("PSNR, dB", lambda score: score.psnr_db, ".2f"),
        ("SSIM", lambda score: score.ssim, ".3f"),
    ]
    for index, (title, of, form) in enumerate(pick):
        series: Series = [
            (colour, [(row.sampling.calls, of(bar.of(row.scores))) for row in rows])
            for colour, rows in ((_EVEN, even), (_FOUND, found))
        ]
        _chart(draw, index * (_WIDE + 2 * _EDGE) + _EDGE, f"{title}, over calls", series, of(bar.published), form)
    names = [("found", _FOUND), ("--steps N", _EVEN), ("published" if bar.references else "near enough", _PUBLISHED)]
    for index, (name, colour) in enumerate(names):
        left, top = _EDGE + 130 * index, image.height - _LINE - 8
        draw.rectangle((left, top + 3, left + 10, top + 13), colour)
        draw.text((left + 16, top), name, _INK, ImageFont.load_default(12))
    content = io.BytesIO()
    image.quantize(32).save(content, "PNG", optimize=True)
    return content.getvalue()


def _chart(draw: ImageDraw.ImageDraw, left: int, title: str, series: Series, line: float, form: str) -> None:
    font, top = ImageFont.load_default(12), _EDGE
    values = [value for _, points in series for _, value in points] + [line]
    low, high = min(values), max(values)
    low, high = low - 0.08 * (high - low or 1), high + 0.08 * (high - low or 1)
    most = max(calls for _, points in series for calls, _ in points)

    def at(calls: float, value: float) -> Point:
        return left + _WIDE * (calls - 0.5) / most, top + _HIGH * (high - value) / (high - low)

    draw.text((left, top - 2 * _LINE), title, _INK, font)
    for value in (low, (low + high) / 2, high):
        y = at(0.5, value)[1]
        draw.line((left, y, left + _WIDE, y), _GRID)
        draw.text((left - 42, y - 7), format(value, form), _INK, font)
    for calls in range(1, int(most) + 1):
        draw.text((at(calls, low)[0] - 3, top + _HIGH + 4), str(calls), _INK, font)
    y = at(0.5, line)[1]
    draw.line((left, y, left + _WIDE, y), _PUBLISHED, 2)
    for colour, points in series:
        places = [at(*point) for point in points]
        draw.line(places, colour, 2)
        for x, y in places:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), colour)


def sheet(photos: Sequence[Mapping[str, Array]]) -> bytes:
    """JPEG: a row a photo, a column a picture. photos: title -> picture, (H, W, 3), 0 to 255, the same titles each."""
    rows = [[_small(picture) for picture in photo.values()] for photo in photos]
    heights = [max(picture.height for picture in row) for row in rows]
    image = Image.new("RGB", (_SHEET * len(photos[0]), sum(heights) + _LINE + 6), "white")
    draw = ImageDraw.Draw(image)
    for column, title in enumerate(photos[0]):
        draw.text((_SHEET * column + 6, 4), title, _INK, ImageFont.load_default(13))
    top = _LINE + 6
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            image.paste(picture, (_SHEET * column, top))
        top += height
    content = io.BytesIO()
    image.save(content, "JPEG", quality=88)
    return content.getvalue()


def _small(picture: Array) -> Image.Image:
    full = Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8))
    return full.resize((_SHEET - 2, max(1, round(full.height * (_SHEET - 2) / full.width))), Image.Resampling.LANCZOS)
