"""Scores measured so far, in a file beside the package to be: a run that was killed goes on from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from runtime.cli.alone import state_folder
from runtime.cli.progress import Progress
from runtime.errors import InputError
from runtime.machine.durable import make_folder
from runtime.machine.files import write_file
from runtime.machine.regular import read_regular
from runtime.package.sampling import Sampling

JUDGED = "photo "
"""How the places begin that have four values: PSNR and SSIM as the picture is, and at equal brightness."""
_HIGHEST = 1000.0  # dB
_LIMIT = 256 << 20  # bytes of a state: a line has some hundred


def text(sampling: Sampling) -> str:
    """Its calls in words, such as ``80, 40; zero``."""
    own = "" if sampling.coefficients is None else f"; last row {_row(sampling.coefficients[-1])}"
    return f"{', '.join(map(str, sampling.timesteps))}; {sampling.start}{own}"


def _row(row: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in row[:2])


class State:
    """The folder ``.NAME.sampling`` beside the output, with one line a score. ``key`` says all that scores depend on: a
    state of another key is not used."""

    def __init__(self, output: Path, key: Mapping[str, Any], progress: Progress) -> None:
        self.folder = state_folder(output, "sampling")
        self._file = self.folder / "scores.jsonl"
        self._key = _line(sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()).rstrip()
        self._scores: dict[tuple[str, str], list[float]] = {}
        lines = self._lines(progress)
        self.resumed = lines[:1] == [self._key]
        """Whether an earlier run left scores here."""
        whole = [_score(line) for line in lines[1:]] if self.resumed else []
        if damaged := [number for number, found in enumerate(whole, 2) if found is None]:
            progress.note(f"{self._file}: line {damaged[0]} is damaged; what it held is measured anew")
        self._scores.update(found for found in whole if found)
        self._begin()

    def get(self, place: str, sampling: Sampling) -> list[float] | None:
        return self._scores.get((place, text(sampling)))

    def put(self, place: str, sampling: Sampling, values: Sequence[float]) -> None:
        """place: the photo, and what of it. Raises InputError where the disk does not take it."""
        self._scores[place, text(sampling)] = list(values)
        with self._told_of_errors(), self._file.open("ab") as file:
            file.write(_line([place, text(sampling), *values]))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _lines(self, progress: Progress) -> list[bytes]:
        """The whole ones: a kill may have cut the last."""
        try:
            return read_regular(self._file, _LIMIT)[0].split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        except OSError as error:
            progress.note(f"{self._file}: cannot be read ({error.strerror}); all is measured anew")
            return []

    def _begin(self) -> None:
        """Write what was read anew: a cut line goes."""
        lines = [self._key + b"\n", *(_line([*key, *values]) for key, values in self._scores.items())]
        with self._told_of_errors():
            make_folder(self.folder)
            with write_file(self._file, overwrite=True) as file:
                file.writelines(lines)

    @contextmanager
    def _told_of_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self._file}: cannot be written ({error.strerror or error}); free space or choose another -o. What "
                "was measured so far is kept."
            ) from error


def _line(content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _score(line: bytes) -> tuple[tuple[str, str], list[float]] | None:
    """(place, sampling) and what was measured; None where it is no such line."""
    try:
        place, sampling, *values = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    if type(place) is not str or type(sampling) is not str:
        return None
    count = 4 if place.startswith(JUDGED) else 2
    sound = len(values) == count and all(type(one) is float and abs(one) <= _HIGHEST for one in values)
    return ((place, sampling), values) if sound else None
