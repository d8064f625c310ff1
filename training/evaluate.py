"""PSNR and SSIM on pairs that are not trained on, as they are: no scaling to the reference's brightness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.model import DiffLL
from runtime.errors import InputError
from runtime.image import psnr, to_pixels, to_tensor
from runtime.photo import read_photo

from .course import Loop
from .losses import ssim


@dataclass(frozen=True)
class Pair:
    name: str
    dark: NDArray[Any]
    bright: NDArray[Any]


def read_pairs(folder: Path) -> list[Pair]:
    """Of ``folder``, low/ and high/ with the same names. Raises InputError."""
    names = sorted(path.name for path in (folder / "low").glob("*") if (folder / "high" / path.name).is_file())
    if not names:
        raise InputError(f"{folder}: no photo is in both low/ and high/; give a folder that has such pairs.")
    pairs = [Pair(n, read_photo(folder / "low" / n).pixels, read_photo(folder / "high" / n).pixels) for n in names]
    for pair in pairs:
        if pair.dark.shape != pair.bright.shape:
            raise InputError(f"{folder}: {pair.name} has another size in low/ than in high/; give pairs of one size.")
    return pairs


def enhance(model: DiffLL, photo: NDArray[Any], loop: Loop) -> NDArray[Any]:
    """photo: (H, W, 3) uint8 or uint16 RGB -> the same. In float32; noise of seed 0."""
    device = next(model.parameters()).device
    image = torch.from_numpy(to_tensor(photo[None], model.arch.pad_multiple)).to(device)
    rows, columns = (size >> model.arch.levels for size in image.shape[2:])
    noise = np.random.default_rng(0).standard_normal((1, 3, rows, columns), np.float32)
    x_t = torch.from_numpy(noise * np.float32(not loop.zero)).to(device)
    with torch.inference_mode():
        bright = model(image, x_t, loop.timesteps).cpu().numpy()
    result: NDArray[Any] = to_pixels(bright, photo.shape[0], photo.shape[1], photo.dtype)[0]
    return result


def evaluate(model: DiffLL, pairs: list[Pair], loop: Loop) -> tuple[tuple[float, float], list[NDArray[Any]]]:
    """(PSNR in dB, SSIM), means over the pairs, and the pictures."""
    pictures = [enhance(model, pair.dark, loop) for pair in pairs]
    device = next(model.parameters()).device
    scores = [_scores(pair.bright, picture, device) for pair, picture in zip(pairs, pictures, strict=True)]
    db, likeness = (sum(one) / len(one) for one in zip(*scores, strict=True))
    return (round(db, 3), round(likeness, 4)), pictures


def _scores(bright: NDArray[Any], picture: NDArray[Any], device: torch.device) -> tuple[float, float]:
    """SSIM by PyTorch, where the device is: numpy's takes longer than the picture did."""
    peak = float(np.iinfo(picture.dtype).max)
    one, other = (
        torch.from_numpy(values.transpose(2, 0, 1)[None] / np.float32(peak)).to(device) for values in (bright, picture)
    )
    return psnr(bright, picture, peak), float(ssim(one, other))
