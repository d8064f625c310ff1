"""Scores measured so far, in a file beside the package to be: a run that was killed goes on from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from runtime.machine.durable import make_folder
from runtime.machine.files import write_file
from runtime.package.sampling import Sampling

from ..alone import state_folder


def text(sampling: Sampling) -> str:
    """Its calls in words, such as ``80, 40; zero``."""
    own = "" if sampling.coefficients is None else f"; last row {_row(sampling.coefficients[-1])}"
    return f"{', '.join(map(str, sampling.timesteps))}; {sampling.start}{own}"


def _row(row: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in row[:2])


class State:
    """The folder ``.NAME.sampling`` beside the output, with one line a score. ``key`` says all that scores depend on: a
    state of another key is not used."""

    def __init__(self, output: Path, key: Mapping[str, Any]) -> None:
        self.folder = state_folder(output, "sampling")
        self._file = self.folder / "scores.jsonl"
        self._key = json.dumps(sha256(json.dumps(key, sort_keys=True).encode()).hexdigest())
        self._scores: dict[tuple[str, str], list[float]] = {}
        lines = self._lines()
        self.resumed = lines[:1] == [self._key]
        """Whether an earlier run left scores here."""
        if self.resumed:
            for line in lines[1:]:
                try:
                    place, sampling, *values = json.loads(line)
                    self._scores[place, sampling] = [float(value) for value in values]
                except (ValueError, TypeError):  # the line that the kill cut
                    break
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

    def _lines(self) -> list[str]:
        try:
            return self._file.read_text().splitlines()
        except (OSError, ValueError):
            return []

    def _begin(self) -> None:
        """Write what was read anew: a cut line goes."""
        lines = [self._key.encode() + b"\n", *(_line([*key, *values]) for key, values in self._scores.items())]
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


def _line(content: Sequence[object]) -> bytes:
    return json.dumps(content).encode() + b"\n"
