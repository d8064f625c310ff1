"""One group of configurations: workers opened one after the other, then photos in turns, round by round."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from runtime.cli.progress import Progress

from .configs import Config, Size
from .photos import Photos
from .process import ROOT, WorkerError, WorkerProcess

COMPILE_LIMIT_S = 300.0
_SLOW_MS = 10_000.0  # a first photo above this is the whole warm-up
_TURN_MS, _MOST_A_TURN = 150.0, 20  # photos a turn: as many as make a turn this long


@dataclass
class Measurement:
    """What was found out about one configuration."""

    config: Config
    failed: str = ""
    """Why there are no times."""
    opening: dict[str, Any] = field(default_factory=dict)
    first_photo_ms: float = 0.0
    warm_up_photos: int = 0
    rounds: list[list[float]] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    steps: list[list[float]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, list[float]] | None = None
    picture: Path | None = None
    """Where its photo is."""


class Bench:
    """What all groups share: the scratch folder, the photos, how many rounds."""

    def __init__(self, folder: Path, photos: Photos, rounds: int, progress: Progress) -> None:
        self.folder, self.photos, self.rounds, self.progress = folder, photos, rounds, progress
        self._count = 0

    def worker(self) -> WorkerProcess:
        """A new worker; whoever asked for it closes it."""
        self._count += 1
        return WorkerProcess(self.folder, f"worker{self._count}")

    def gemm_peak(self, cores: int) -> dict[str, Any]:
        """How fast this machine multiplies matrices (see peak.py), told by a process of its own that uses as many
        threads as the engines do."""
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        self._count += 1
        with WorkerProcess(self.folder, f"gemm{self._count}", dict.fromkeys(names, str(cores))) as worker:
            try:
                return worker.ask("gemm")
            except WorkerError as error:  # the times are worth keeping without it
                self.progress.note(f"the GEMM peak could not be measured, no share of it: {error}")
                return {"cpu": {}, "cuda": None, "how": f"failed: {error}"}

    def photo(self, config: Config) -> Path:
        """The photo of the configuration's size, as a .npy file."""
        path = self.folder / f"photo-{config.size[0]}x{config.size[1]}.npy"
        if not path.exists():
            np.save(path, self.photos.make(config.size))
        return path

    def opens(self, config: Config, sizes: Sequence[Size]) -> dict[Size, int] | WorkerError:
        """Open the configuration's package with its backend: bytes of memory that photos of ``sizes`` need, or why it
        does not open."""
        with self.progress.task(f"opening {config.label.split(',')[0]}"), self.worker() as worker:
            try:
                worker.ask("open", job=asdict(config.job), photo="")
                return dict(zip(sizes, worker.ask("needs", sizes=sizes)["bytes"], strict=True))
            except WorkerError as error:
                return error

    def picture(self, config: Config) -> Path:
        """The configuration's picture of its photo, made by a worker of its own. Raises WorkerError."""
        path = self.folder / "picture.npy"
        with self.progress.task(f"reference picture: {config.label}"), self.worker() as worker:
            worker.ask("open", job=asdict(config.job), photo=str(self.photo(config)))
            worker.ask("run", count=1, save=str(path))
        return path

    def measure(self, configs: Sequence[Config]) -> list[Measurement]:
        """Measure a group in turns. What fails is told in its measurement and takes no part in the rounds."""
        measurements = [Measurement(config) for config in configs]
        with ExitStack() as stack:
            workers: dict[int, WorkerProcess] = {}
            for index, one in enumerate(measurements):
                with self.progress.task(f"opening and first photo: {one.config.label}"), ExitStack() as own:
                    try:
                        worker = own.enter_context(self.worker())
                        self._open(one, worker, self.folder / f"picture{index}.npy", stack)
                        workers[index] = worker
                        stack.push(own.pop_all())
                    except WorkerError as error:
                        one.failed = str(error)
                if one.failed:
                    self.progress.note(f"failed: {one.config.label}: {one.failed}")
            self._rounds(measurements, workers)
            for index, worker in workers.items():
                try:
                    self._finish(measurements[index], worker)
                except WorkerError as error:
                    measurements[index].failed = str(error)
        return measurements

    def _open(self, one: Measurement, worker: WorkerProcess, picture: Path, stack: ExitStack) -> None:
        config = one.config
        job = asdict(config.job)
        if config.job.kind == "naive-onnx":
            job["traces"] = str(self._trace(config, stack))
        limit = COMPILE_LIMIT_S if config.job.variant.startswith("compile") else None
        one.opening = worker.ask("open", job=job, photo=str(self.photo(config)))
        first = worker.ask("run", limit, count=1, save=str(picture))
        one.first_photo_ms, one.warm_up_photos, one.picture = first["ms"][0], 1, picture
        one.opening["plan"] = first["plan"]
        if one.first_photo_ms < _SLOW_MS or limit:
            warm = worker.ask("run", count=1, save="")
            one.warm_up_photos = 2
            one.opening["photos_a_turn"] = min(_MOST_A_TURN, max(1, math.ceil(_TURN_MS / warm["ms"][0])))
        one.memory |= worker.ask("settle")

    def _trace(self, config: Config, stack: ExitStack) -> Path:
        """Trace the plain graphs, in a process that is gone when they are timed. Raises WorkerError."""
        self._count += 1
        folder = self.folder / f"traces{self._count}"
        folder.mkdir()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        width, height = config.padded
        words = [config.job.checkpoint, f"{width}x{height}", str(config.job.steps), config.job.variant, str(folder)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.naive_trace", *words], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            raise WorkerError(f"the plain trace failed: {' '.join(done.stderr.split())[-300:]}")
        return folder

    def _rounds(self, measurements: Sequence[Measurement], workers: dict[int, WorkerProcess]) -> None:
        size = "x".join(str(side) for side in measurements[0].config.size)
        with self.progress.task(f"{size}: {self.rounds} rounds of {len(workers)} configurations in turns"):
            for _ in range(self.rounds):
                for index, worker in list(workers.items()):
                    one = measurements[index]
                    try:
                        turn = worker.ask("run", count=one.opening.get("photos_a_turn", 1), save="")
                    except WorkerError as error:  # the others go on without it
                        one.failed = str(error)
                        del workers[index]
                        continue
                    one.rounds.append([round(ms, 3) for ms in turn["ms"]])
                    one.stages += turn["stages"]
                    one.steps += turn["steps"]

    def _finish(self, one: Measurement, worker: WorkerProcess) -> None:
        one.memory |= worker.ask("memory")
        pairs = self.photos.pairs_of(one.config.size)
        if pairs:
            with self.progress.task(f"scoring {len(pairs)} photos: {one.config.label}"):
                one.scores = worker.ask("score", pairs=pairs)["scores"]


def step_medians(steps: Sequence[Sequence[float]]) -> list[float]:
    """Median milliseconds of each denoiser step, over all photos; empty where steps were not timed."""
    return [round(median(times), 3) for times in zip(*steps, strict=True)]
