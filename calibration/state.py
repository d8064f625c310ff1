"""What has been collected so far, in a file beside the package to be: a run that was killed goes on from there."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import InputError
from runtime.machine.files import write_file

from .alone import state_folder
from .observe import Observed


class State:
    """The folder ``.NAME.calibration`` beside the output. ``key`` says all that the collected ranges depend on: a
    state of another key is not used."""

    def __init__(self, output: Path, key: Mapping[str, Any]) -> None:
        self.folder = state_folder(output, "calibration")
        self._file = self.folder / "state.npz"
        self._key = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    def load(self, stages: Mapping[str, Observed]) -> int:
        """Fill ``stages``; return how many photos are in them (0: none, or a state of other photos or settings)."""
        try:
            with np.load(self._file, allow_pickle=False) as arrays:
                if str(arrays["key"]) != self._key:
                    return 0
                for stage, observed in stages.items():
                    observed.restore({name: arrays[f"{stage}/{name}"] for name in observed.state()})
                return int(arrays["photos"])
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):  # none, or not ours: begin again
            return 0

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
