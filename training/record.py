"""What a training tells while it runs: one JSON line a report, and pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.machine.files import rewrite_file

_LOG = "log.jsonl"


class Record:
    """The folder of a training: ``log.jsonl`` and ``samples-ITERATION.jpg``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def start_at(self, iteration: int) -> None:
        """Leave out what a killed training told beyond the state that it resumes from."""
        path = self.folder / _LOG
        lines = path.read_text().splitlines() if path.exists() and iteration else []
        kept = [line for line in lines if _iteration(line) <= iteration]
        rewrite_file(path, "".join(f"{line}\n" for line in kept).encode())

    def add(self, kind: str, iteration: int, **values: Any) -> None:
        with (self.folder / _LOG).open("a") as file:
            file.write(json.dumps({"kind": kind, "iteration": iteration, **values}) + "\n")

    def pictures(self, iteration: int, rows: Sequence[Sequence[NDArray[Any]]]) -> None:
        """Rows of pictures (H, W, 3) uint8 RGB, such as dark, enhanced, reference: each made small."""
        sheet = np.concatenate([np.concatenate([_small(one) for one in row], axis=1) for row in rows])
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, "JPEG", quality=92)
        rewrite_file(self.folder / f"samples-{iteration:06}.jpg", file.getvalue())


def _small(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """As high as all the others of a sheet, and as wide, so upright ones get thin."""
    if picture.dtype == np.uint16:
        picture = picture >> 8
    image = Image.fromarray(picture.astype(np.uint8))
    return np.asarray(image.resize((300, 200), Image.Resampling.LANCZOS))


def _iteration(line: str) -> int:
    try:
        return int(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):  # cut short by the kill
        return 1 << 62
