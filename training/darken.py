"""A bright photo -> the dark photo that a camera would have taken, and what the network should make of it.

The scene is taken to linear light, lit unevenly, given lamps and black regions, and exposed: gain, white balance,
vignette, clipping at the sensor's full well, shot and read noise, black level. Then the camera's own processing: less
saturation, a gamma, smoothing, 8 bits, JPEG. What is clipped in the dark photo (a lamp, a window, a white sky) is white
in the target as well, and what has no light at all is a neutral black: a network that was never shown either gives them
colours of its own.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Array = NDArray[np.float32]
Random = np.random.Generator

RANGES: dict[str, tuple[float, float]] = {
    "tone": (0.65, 0.95),  # how far the target's mean is brought to 0.48 (1: all the way)
    "exposure": (0.025, 0.26),  # mean of the dark photo after gamma, log-uniform
    "exposure_mild": (0.2, 0.5),  # the same where the photo is only somewhat dark
    "saturation": (0.5, 1.0),  # share of the colour that is left
    "white_balance": (0.0, 0.16),  # standard deviation of each channel's log gain
    "uneven": (0.2, 0.9),  # standard deviation of the light's log gain over the picture
    "vignette": (0.1, 0.6),  # light lost in the farthest corner
    "highlight": (0.82, 0.97),  # from here on the bright photo tells too little: the light may be many times more
    "highlight_log10": (0.0, 3.0),  # how many times more, at white
    "lamp_radius": (0.01, 0.3),  # of the side, log-uniform
    "lamp_peak": (0.6, 6.0),  # of the sensor's full well, log-uniform
    "black_log2": (-9.0, -2.0),  # light left where there is next to none
    "shot_log10": (-5.0, -3.4),  # variance a unit of linear light
    "read_log10": (-7.0, -5.2),  # variance without light
    "black_level": (-0.0008, 0.0012),  # linear, each channel
    "gamma": (1.9, 2.5),
    "smoothing": (0.3, 0.9),  # sigma in pixels
    "jpeg_quality": (50.0, 96.0),
}
"""Where each value is drawn from, evenly if nothing else is said. Light is linear, 1 is the sensor's full well."""

CHANCES: dict[str, float] = {
    "exposure_mild": 0.15,
    "saturation": 0.6,
    "white_balance": 0.8,
    "uneven": 0.35,
    "vignette": 0.2,
    "highlight": 0.5,
    "lamps": 0.3,
    "black": 0.2,
    "smoothing": 0.3,
    "jpeg": 0.4,
}
"""How often each step is taken; the others always are."""

_MEAN, _DISPLAY_GAMMA = 0.48, 2.2
_LAMPS = ((1.0, 1.0, 1.0), (1.0, 0.8, 0.5), (1.0, 0.55, 0.2), (0.7, 0.85, 1.0), (1.0, 0.1, 0.06), (0.1, 1.0, 0.5))


def darken(photo: NDArray[Any], random: Random) -> tuple[NDArray[np.uint8], Array]:
    """photo: (H, W, 3) uint8 RGB, a bright one. Returns the dark photo, (H, W, 3) uint8 RGB, and the target,
    (H, W, 3) float32 RGB in [0, 1]: the photo at an even brightness, with the lamps and black regions that were added.
    The same ``random`` gives the same pair."""
    target = _toned(photo.astype(np.float32) / np.float32(255), random)
    light = target**_DISPLAY_GAMMA
    if _happens("black", random):
        dim = np.exp2(_draw("black_log2", random) * _region(target.shape, random))
        light, target = light * dim, target * np.sqrt(dim)
    exposed = light * _gain(target, random)
    if _happens("highlight", random):
        exposed = np.maximum(exposed, _highlights(target, random))
    if _happens("lamps", random):
        lamps = sum(_lamp(target.shape, random) for _ in range(int(random.integers(1, 4))))
        exposed = exposed + lamps
        target = 1 - (1 - target) * (1 - np.minimum(lamps, 1) ** (1 / _DISPLAY_GAMMA))
    return _camera(exposed, random), target.clip(0, 1).astype(np.float32)


def _toned(photo: Array, random: Random) -> Array:
    mean = float(photo.mean())
    power = np.log(_MEAN) / np.log(np.clip(mean, 0.05, 0.95))
    return photo ** np.float32(np.clip(1 + _draw("tone", random) * (power - 1), 0.4, 1.6))


def _gain(target: Array, random: Random) -> Array:
    """Of the exposure, with white balance, uneven light and a vignette: broadcasts to (H, W, 3)."""
    mild = _happens("exposure_mild", random)
    mean = np.exp(random.uniform(*np.log(RANGES["exposure_mild" if mild else "exposure"])))
    gain = np.full((1, 1, 3), (mean / max(float(target.mean()), 0.02)) ** _DISPLAY_GAMMA, np.float32)
    gain = gain.clip(None, 1)
    if _happens("white_balance", random):
        gain = gain * np.exp(random.normal(0, _draw("white_balance", random), 3)).astype(np.float32)
    if _happens("uneven", random):
        points = random.normal(0, _draw("uneven", random), (3, 3)).astype(np.float32)
        gain = gain * np.exp(_resized(points, target.shape))[..., None]
    if _happens("vignette", random):
        y, x = np.ogrid[-1 : 1 : target.shape[0] * 1j, -1 : 1 : target.shape[1] * 1j]
        gain = gain * (1 - np.float32(_draw("vignette", random) / 2) * (x * x + y * y).astype(np.float32))[..., None]
    return gain


def _highlights(target: Array, random: Random) -> Array:
    """The light of what is white, or almost, in the bright photo: its true amount is unknown, so it is drawn."""
    start, more = _draw("highlight", random), 10 ** _draw("highlight_log10", random) - 1
    white = ((target.min(axis=2, keepdims=True) - start) / (1 - start)).clip(0, 1)
    light: Array = target**_DISPLAY_GAMMA * white * np.float32(min(more, 4.0) * random.uniform(0, 1))
    return light


def _lamp(shape: tuple[int, ...], random: Random) -> Array:
    """A disc or a window with soft edges and a glow, in units of the full well, (H, W, 3)."""
    height, width, _ = shape
    radius = np.exp(random.uniform(*np.log(RANGES["lamp_radius"]))) * max(height, width)
    y = (np.arange(height, dtype=np.float32) - random.uniform(-0.1, 1.1) * height)[:, None] / radius
    x = (np.arange(width, dtype=np.float32) - random.uniform(-0.1, 1.1) * width)[None] / radius
    if random.random() < 0.5:
        distance = np.maximum(np.abs(x), np.abs(y) * random.uniform(0.4, 2.5)) ** 2
    else:
        distance = x * x + y * y
    sharp = random.uniform(2, 12)
    body = 1 / (1 + np.exp(np.minimum(sharp * (distance - 1), 60)))
    glow = random.uniform(0, 0.15) / (1 + distance) ** 2
    peak = np.exp(random.uniform(*np.log(RANGES["lamp_peak"])))
    colour = np.array(_LAMPS[random.integers(len(_LAMPS))], np.float32) ** np.float32(random.uniform(0.3, 1.3))
    light: Array = ((body + glow) * peak)[..., None].astype(np.float32) * colour
    return light


def _region(shape: tuple[int, ...], random: Random) -> Array:
    """A soft-edged part of the picture, such as a night sky: (H, W, 1) in [0, 1]."""
    points = random.normal(0, 1, (3, 3)).astype(np.float32)
    soft: Array = (_resized(points, shape) * np.float32(random.uniform(2, 12))).clip(0, 1)[..., None]
    return soft


def _camera(light: Array, random: Random) -> NDArray[np.uint8]:
    """Linear light (H, W, 3), clipped here -> 8 bits."""
    light = light.clip(0, 1)
    if _happens("saturation", random):
        grey = light.mean(axis=2, keepdims=True)
        light = grey + (light - grey) * np.float32(_draw("saturation", random))
    shot, read = 10 ** _draw("shot_log10", random), 10 ** _draw("read_log10", random)
    noise = random.standard_normal(light.shape, np.float32)
    noisy = light + noise * np.sqrt(light * np.float32(shot) + np.float32(read))
    noisy += random.uniform(*RANGES["black_level"], 3).astype(np.float32)
    full = light >= 1  # a full well stays full
    coded = np.where(full, 1, noisy).clip(0, 1) ** np.float32(1 / _draw("gamma", random))
    image = Image.fromarray((coded * 255 + 0.5).astype(np.uint8))
    if _happens("smoothing", random):
        image = image.filter(ImageFilter.GaussianBlur(_draw("smoothing", random)))
    if _happens("jpeg", random):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(_draw("jpeg_quality", random)))
        image = Image.open(file)
    return np.asarray(image)


def _draw(name: str, random: Random) -> float:
    return float(random.uniform(*RANGES[name]))


def _happens(name: str, random: Random) -> bool:
    return bool(random.random() < CHANCES[name])


def _resized(points: Array, shape: tuple[int, ...]) -> Array:
    return np.asarray(Image.fromarray(points).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
