"""What has been collected so far, in a file beside the package to be: a run that was killed goes on from there."""

from __future__ import annotations

import copy
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from runtime.cli.alone import state_folder
from runtime.cli.progress import Progress
from runtime.errors import InputError, one_line
from runtime.image import array_text
from runtime.machine.files import write_file
from runtime.machine.regular import read_regular

from .observe import Observed

_LIMIT = 1 << 30  # bytes of a state: a network of a thousand tensors has 20 MB


class State:
    """The folder ``.NAME.calibration`` beside the output. ``key`` says all that the collected ranges depend on: a
    state of another key is not used."""

    def __init__(self, output: Path, key: Mapping[str, Any]) -> None:
        self.folder = state_folder(output, "calibration")
        self._file = self.folder / "state.npz"
        self._key = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        self._photos = len(key["photos"])

    def load(self, stages: Mapping[str, Observed], progress: Progress) -> int:
        """Fill ``stages``; return how many photos are in them (0: none, or a state of other photos or settings). One
        that is damaged is told, and is 0 too."""
        found = {stage: copy.deepcopy(observed) for stage, observed in stages.items()}
        try:
            content, _ = read_regular(self._file, _LIMIT)
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                if str(arrays["key"]) != self._key:
                    return 0
                for stage, observed in found.items():
                    observed.restore({name: arrays[f"{stage}/{name}"] for name in observed.state()})
                photos = arrays["photos"]
            if photos.dtype.kind != "i" or photos.shape or not 0 < photos <= self._photos:
                raise ValueError(f"it is of {array_text(photos)} photos")
        except FileNotFoundError:
            return 0
        except Exception as error:  # numpy and zipfile raise of many kinds
            reason = one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__, 120)
            progress.note(f"{self._file}: damaged ({reason}); the photos are collected anew")
            return 0
        for stage, observed in found.items():
            stages[stage].restore(observed.state())
        return int(photos)

    def save(self, stages: Mapping[str, Observed], photos: int) -> None:
        """Whole or not at all. Raises InputError where the disk does not take it."""
        content = io.BytesIO()
        arrays = {f"{stage}/{name}": a for stage, observed in stages.items() for name, a in observed.state().items()}
        np.savez(content, key=self._key, photos=photos, **arrays)  # type: ignore[arg-type]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with write_file(self._file, overwrite=True) as file:
                file.write(content.getvalue())
        except OSError as error:
            raise InputError(
                f"{self._file}: cannot be written ({error.strerror or error}); free "
                f"{len(content.getvalue()) / 1e6:.0f} MB or choose another -o. The photos done so far are kept."
            ) from error

    def remove(self) -> None:
        """With what a killed run may have left in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def state_key(package_sha256: str, photos: Sequence[str], tensors: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the collected ranges depend on. photos: sha256 of each, in order; tensors: of each stage."""
    return {"version": 1, "package": package_sha256, "photos": list(photos), "tensors": dict(tensors)}
