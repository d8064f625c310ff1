"""The sensitivity plot: two bar charts as a PNG, drawn with Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from runtime.image import decibels

from .result import Result

_LAYERS = 40  # the worst of them; the table has all
_ROW, _LABEL, _BAR, _EDGE = 18, 330, 420, 12
_INT8, _FLOAT, _STEP, _INK = (66, 112, 166), (200, 80, 60), (90, 140, 90), (30, 30, 30)

Bar = tuple[str, float, tuple[int, int, int]]


def plot(result: Result) -> bytes:
    """PNG: loss of each call and of the worst layers (red: left in float). A longer bar is a larger error."""
    steps: list[Bar] = [
        (f"{name}: timestep {t}", error, _STEP) for (name, t), error in result.sensitivity.calls.items()
    ]
    worst = sorted(result.sensitivity.layers.items(), key=lambda item: (-item[1], item[0]))[:_LAYERS]
    layers: list[Bar] = [
        (f"{key[0]}: {key[1]}", error, _FLOAT if key in result.float_layers else _INT8) for key, error in worst
    ]
    titles = ("denoiser in int8 at one timestep: PSNR, dB", "one layer in int8 (red: left in float): PSNR, dB")
    height = 2 * _EDGE + _ROW * (len(steps) + len(layers) + 5)
    image = Image.new("RGB", (_LABEL + _BAR + 70 + 2 * _EDGE, height), "white")
    draw = ImageDraw.Draw(image)
    top = _EDGE
    for title, bars in zip(titles, (steps, layers), strict=True):
        top = _chart(draw, top, title, bars)
    content = io.BytesIO()
    image.quantize(32).save(content, "PNG", optimize=True)  # a package is to be small
    return content.getvalue()


def _chart(draw: ImageDraw.ImageDraw, top: int, title: str, bars: Sequence[Bar]) -> int:
    """Draw one chart; return where the next begins. Bars are linear in dB, from the best (short) to the worst."""
    font = ImageFont.load_default(12)
    draw.text((_EDGE, top), title, _INK, font)
    top += 2 * _ROW
    values = [decibels(error) for _, error, _ in bars]
    best, worst = max(values, default=0.0), min(values, default=0.0)
    for (label, _, colour), value in zip(bars, values, strict=True):
        length = round(_BAR * (best - value + 1) / (best - worst + 1))
        draw.text((_EDGE, top), label, _INK, font)
        draw.rectangle((_LABEL, top + 2, _LABEL + length, top + _ROW - 4), colour)
        draw.text((_LABEL + length + 6, top), f"{value:.1f}", _INK, font)
        top += _ROW
    return top + _ROW
