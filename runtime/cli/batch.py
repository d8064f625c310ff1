"""Photos through the enhancer: read ahead of the engine, written behind it, in their order."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..enhancer import Enhancer
from ..errors import DiffLLError, InputError
from ..photo import check_destination, check_photo, encode_photo, read_photo, write_encoded, written_to
from ..photo.folder import output_folder
from ..photo.journal import Journal, identity
from ..photo.photo import blend
from ..planning.request import FILE_BYTES
from .beside import Behind, ahead
from .command import error_line, printable
from .inputs import PIPE, Item
from .progress import Progress

if TYPE_CHECKING:
    from ..names import Kind
    from ..photo import Photo
    from ..planning.request import Plan

_BESIDE = 2  # photos that wait before the engine, and behind it


@dataclass(frozen=True)
class Settings:
    """How every photo of a command is made."""

    sampling: str | None = None
    steps: int | None = None
    sampler: str | None = None
    seed: int | None = None
    plan: Kind | None = None
    before_after: bool = False
    strength: float = 1.0
    quality: int | None = None
    kind: str | None = None
    """The format that is written; None: the one of the result's name, or the photo's own."""
    overwrite: bool = False
    skip_existing: bool = False
    json: bool = False
    beside: bool = True
    """Reading and writing beside the engine: not where the memory is bounded."""

    @property
    def loop(self) -> dict[str, Any]:
        """The arguments of a call of the enhancer."""
        return {"sampling": self.sampling, "steps": self.steps, "sampler": self.sampler, "seed": self.seed}


@dataclass
class Outcome:
    """What became of one photo."""

    item: Item
    status: str = "done"
    """``done``, ``skipped`` or ``failed``."""
    error: str = ""
    width: int = 0
    height: int = 0
    plan: str = ""
    milliseconds: float = 0.0
    """Of the engine's share, with the host's work around it."""

    def line(self, sampling: str) -> str:
        """As one line of JSON."""
        return json.dumps(
            {
                "input": str(self.item.source),
                "output": str(self.item.target),
                "status": self.status,
                "width": self.width or None,
                "height": self.height or None,
                "plan": self.plan or None,
                "sampling": sampling,
                "milliseconds": round(self.milliseconds, 1) if self.status == "done" else None,
                "error": self.error or None,
            }
        )


@dataclass
class Summary:
    """What became of all."""

    done: int = 0
    skipped: int = 0
    failed: list[Path] = field(default_factory=list)


@dataclass
class _Read:
    """A photo that waits for the engine, or why there is none."""

    outcome: Outcome
    photo: Photo | None = None
    identity: tuple[int, int] = (0, 0)
    replaces: bool = False


class Batch:
    """One run over ``items``. journals: by the root of their items. folders: they are made where results need them."""

    def __init__(
        self, enhancer: Enhancer, settings: Settings, journals: dict[Path, Journal], *, folders: bool = False
    ) -> None:
        self._enhancer, self._settings, self._journals, self._folders = enhancer, settings, journals, folders
        self._progress = Progress()
        self._name = settings.sampling or (f"{settings.steps} steps" if settings.steps else "published")
        self.summary = Summary()

    def run(self, items: Sequence[Item]) -> None:
        """Every photo; one that cannot be done does not stop the others, unless it is the only one.

        Raises DiffLLError for the only one. After KeyboardInterrupt the photo in hand is finished or dropped, and
        ``summary`` says what was done.
        """
        alone = len(items) == 1
        size = _BESIDE if self._settings.beside and not alone else 0
        with ExitStack() as stack:
            stack.enter_context(self._progress.warnings())
            begin = stack.enter_context(self._progress.count(len(items), "photo"))
            behind = stack.enter_context(Behind(size))
            reads = (self._read(item, alone) for item in items)
            ready = stack.enter_context(closing(ahead(reads, size) if size else reads))
            for read in ready:
                begin(read.outcome.item.source.name)
                if read.photo is None:
                    behind.submit(self._tell, read.outcome)
                    continue
                try:
                    bright = self._enhance(read)
                except DiffLLError as error:
                    if alone:
                        raise
                    behind.submit(self._fail, read.outcome, error)
                    continue
                read.photo = None  # its memory is for the next one
                behind.submit(self._put, read, bright, alone)

    def _read(self, item: Item, alone: bool) -> _Read:
        settings, outcome = self._settings, Outcome(item)
        read = _Read(outcome)
        try:
            if settings.skip_existing and self._is_done(read):
                outcome.status = "skipped"
                return read
            if str(item.source) == PIPE:
                source: Any = sys.stdin.buffer.read()
            else:
                source, read.identity = item.source, _identity(item.source)
            if str(item.target) != PIPE and not self._folders:
                check_destination(item.target, source=item.source, overwrite=settings.overwrite)
            into = settings.kind or (item.target if str(item.target) != PIPE else None)
            read.photo = read_photo(source, check=self._plan, into=into)
            outcome.height, outcome.width = read.photo.pixels.shape[:2]
            if settings.before_after:
                check_photo(item.target, self._kind(item, read.photo), read.photo, copies=2)
        except DiffLLError as error:
            if alone:
                raise
            outcome.status, outcome.error = "failed", str(error)
            read.photo = None
        return read

    def _is_done(self, read: _Read) -> bool:
        item = read.outcome.item
        journal = self._journals.get(item.root)
        if journal is None:
            return item.target.exists()
        try:
            verdict = journal.verdict(item.source, item.target)
        except OSError as error:
            raise InputError(f"cannot read {item.source}: {error.strerror}; check the name.") from error
        read.replaces = verdict in ("again", "do")
        if verdict == "there":
            what = f"{item.target}: was there, and this command did not make it as it is; left as it is"
            self._progress.note(printable(what))
        return verdict in ("done", "there")

    def _plan(self, width: int, height: int, depth: int) -> Plan:
        settings = self._settings
        dtype = np.uint16 if depth == 16 else np.uint8
        one = depth // 8 * width * height
        reserve = FILE_BYTES * one if settings.before_after else 0  # the file's other half
        return self._enhancer.plan(
            width,
            height,
            sampling=settings.sampling,
            steps=settings.steps,
            dtype=dtype,
            kind=settings.plan,
            reserve_bytes=reserve,
        )

    def _enhance(self, read: _Read) -> Photo:
        photo, settings, outcome = read.photo, self._settings, read.outcome
        assert photo is not None
        chosen = self._plan(outcome.width, outcome.height, 8 * photo.pixels.itemsize) if settings.plan else None
        started = time.perf_counter()
        pixels = self._enhancer(photo.pixels, **settings.loop, plan=chosen)
        outcome.milliseconds = 1000 * (time.perf_counter() - started)
        outcome.plan = self._enhancer.why or "whole"
        if self._enhancer.why:
            self._progress.note(printable(f"{outcome.item.source}: {self._enhancer.why}"))
        if settings.strength < 1:
            pixels = blend(photo.pixels, pixels, settings.strength)
        bright = photo.with_pixels(pixels)
        if settings.before_after:
            alpha = None if bright.alpha is None else np.hstack((bright.alpha, bright.alpha))
            bright = replace(bright, pixels=np.hstack((photo.pixels, bright.pixels)), alpha=alpha)
        return bright

    def _kind(self, item: Item, photo: Photo) -> str:
        if self._settings.kind:
            return self._settings.kind
        return photo.format if str(item.target) == PIPE else written_to(item.target, photo.format)

    def _put(self, read: _Read, bright: Photo, alone: bool) -> None:
        """Encode and write, in another thread."""
        item, settings = read.outcome.item, self._settings
        try:
            data = encode_photo(bright, self._kind(item, bright), quality=settings.quality, where=item.target)
            if str(item.target) == PIPE:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                journal = self._journals.get(item.root)
                if self._folders:
                    output_folder(item.target.parent)
                if journal is not None:
                    journal.begin(read.identity, item.target, data)
                write_encoded(item.target, data, overwrite=settings.overwrite or read.replaces)
                if journal is not None:
                    journal.end(item.target)
        except OSError as error:
            problem = InputError(f"cannot write {item.target}: {error.strerror or error}; choose another -o.")
            if alone:
                raise problem from error
            self._fail(read.outcome, problem)
        except DiffLLError as error:
            if alone:
                raise
            self._fail(read.outcome, error)
        else:
            self._tell(read.outcome)

    def _fail(self, outcome: Outcome, error: DiffLLError) -> None:
        outcome.status, outcome.error = "failed", str(error)
        self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        summary = self.summary
        if outcome.status == "done":
            summary.done += 1
        elif outcome.status == "skipped":
            summary.skipped += 1
        else:
            summary.failed.append(outcome.item.source)
            self._progress.note(error_line(outcome.error))
        if self._settings.json:
            print(outcome.line(self._name), flush=True)


def _identity(path: Path) -> tuple[int, int]:
    try:
        return identity(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the name.") from error
