"""The training itself: iterations, reports, states to resume from, evaluations, and the checkpoint at the end."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from export.checkpoint import load_checkpoint
from export.files import suffix_of
from export.model import Architecture, DiffLL
from export.model.diffll import PUBLISHED_TIMESTEPS
from runtime.cli.progress import Progress
from runtime.errors import EngineError, InputError
from runtime.names import FAST
from runtime.package.sampling import Sampling

from .checkpoint import write_checkpoint
from .course import Course, Loop
from .evaluate import Pair, evaluate, read_pairs
from .options import Options
from .photos import batches, read_photos
from .record import Record
from .state import State
from .step import NAMES, batch_losses

_REPORT = 20  # iterations between two looks at the losses: each look waits for the device
_SAY_S = 10.0


def train(options: Options, started: float, progress: Progress) -> None:
    """Train, and leave ``options.output``. started: ``time.monotonic()`` of the command's start. Raises InputError,
    PackageError; EngineError where a loss is no number."""
    Training(options, started, progress).run()


def folder_of(output: Path) -> Path:
    """Of the records and the state of a training, beside its checkpoint."""
    return output.with_name(output.name.removesuffix(suffix_of(output)) + "-training")


class Training:
    """One run of the command."""

    def __init__(self, options: Options, started: float, progress: Progress) -> None:
        self.options, self.progress = options, progress
        torch.manual_seed(options.seed)  # of a new network's weights
        torch.set_float32_matmul_precision("high")
        with progress.task("reading photos"):
            self.photos = read_photos(options.photos, options.references, options.patch, lambda _: None)
            self.pairs = read_pairs(options.evaluate) if options.evaluate else []
        for line in self.photos.left_out:
            progress.note(f"left out: {line}")
        self.device = torch.device(options.device)
        model = load_checkpoint(options.init).model() if options.init else _new(options.width)
        self.state = State.of(model, self.device)
        self.record = Record(folder_of(options.output))
        self.state_path = self.record.folder / "state.pt"
        before = self._resumed()
        self.course = Course(options, lambda: before + time.monotonic() - started)
        self.samplings = {f"published, {len(PUBLISHED_TIMESTEPS)} calls": Loop(PUBLISHED_TIMESTEPS, False)}
        self.samplings |= {one.name: Loop(one.timesteps, True) for one in self._trained()}
        self._kept = self._evaluated = self._said = time.monotonic()

    def run(self) -> None:
        limit_s = math.inf if self.options.minutes is None else self.options.minutes * 60
        began = time.monotonic()
        plan = self.course.plan(self.state.iteration)
        self.course.limit_s = max(1.0, limit_s - 2)
        made = batches(self.photos, self.options.seed, plan, self.options.workers, pinned=self.device.type == "cuda")
        if self.pairs:
            self._evaluate()
            self.course.limit_s = max(1.0, limit_s - 2 - 1.3 * (time.monotonic() - began))
        reports: list[torch.Tensor] = []
        for dark, bright in made:
            if self.course.share(self.state.iteration) >= 1:
                break
            reports.append(self._iterate(dark, bright))
            if len(reports) == _REPORT:
                self._report(reports)
                reports = []
                self._keep_and_evaluate()
        if reports:
            self._report(reports)
        self._write()
        if self.pairs:
            self._evaluate()
        self.state_path.unlink(missing_ok=True)

    def _iterate(self, dark: torch.Tensor, bright: torch.Tensor) -> torch.Tensor:
        """(6,): the losses and the gradient's norm, still on the device."""
        state, device = self.state, self.device
        random = torch.Generator(device).manual_seed((self.options.seed << 32) + state.iteration)
        dark, bright = (
            one.to(device, non_blocking=True).permute(0, 3, 1, 2).contiguous().float() / 255 for one in (dark, bright)
        )
        loop = self.course.loop(state.iteration)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.options.precision == "bf16"):
            found = batch_losses(state.model, dark, bright, loop, random, self.options.weights)
        norm = state.update(found[0], self.course.learning_rate(state.iteration))
        return torch.cat((found.detach(), norm[None]))

    def _report(self, reports: list[torch.Tensor]) -> None:
        rows = torch.stack(reports).tolist()
        last = self.state.iteration
        for index, row in enumerate(rows):
            if not all(map(math.isfinite, row)):
                step = last - len(rows) + index
                raise EngineError(
                    f"the loss is no number at iteration {step} ({', '.join(f'{v:.4g}' for v in row)}); the last good "
                    f"state stays in {self.state_path}: try a lower --learning-rate, or --precision fp32."
                )
        columns = zip(*rows, strict=True)
        means = {name: round(sum(one) / len(rows), 5) for name, one in zip(NAMES, columns, strict=True)}
        rate = self.course.learning_rate(last)
        self.record.add("losses", last, learning_rate=rate, seconds=round(self.course.clock(), 1), **means)
        if time.monotonic() - self._said > _SAY_S:
            self._said = time.monotonic()
            share, seconds = self.course.share(last), self.course.clock()
            left = seconds / max(share, 1e-6) - seconds
            self.progress.note(
                f"iteration {last}, {100 * share:.0f} %, {left:.0f} s left: "
                + ", ".join(f"{name} {value:.4f}" for name, value in means.items())
            )

    def _keep_and_evaluate(self) -> None:
        now = time.monotonic()
        if now - self._kept > 60 * self.options.keep_every:
            self._keep()
            self._kept = time.monotonic()
        if self.pairs and now - self._evaluated > 60 * self.options.sample_every:
            self._evaluate()

    def _keep(self) -> None:
        more = {"options": _fingerprint(self.options), "seconds": self.course.clock()}
        self.state.save(self.state_path, more)
        self._write()

    def _write(self) -> None:
        state = self.state
        write_checkpoint(
            self.options.output, state.model.arch, state.ema.state_dict(), self._trained(), state.iteration
        )

    def _evaluate(self) -> None:
        for name, loop in self.samplings.items():
            scores, pictures = evaluate(self.state.ema, self.pairs, loop)
            self.record.add("evaluation", self.state.iteration, sampling=name, **scores)
            self.progress.note(f"iteration {self.state.iteration}, {name}: {scores['psnr_db']} dB, {scores['ssim']}")
        rows = [_row(pair, picture) for pair, picture in zip(self.pairs, pictures, strict=True)]
        self.record.pictures(self.state.iteration, rows)
        self._evaluated = time.monotonic()

    def _trained(self) -> tuple[Sampling, ...]:
        return tuple(
            Sampling(FAST if index == 0 else f"{FAST}-{len(steps)}", steps, "zero", None, {"trained": True})
            for index, steps in enumerate(self.options.samplings)
        )

    def _resumed(self) -> float:
        """Seconds that were trained before, with the state of then."""
        if not self.state_path.exists():
            self.record.start_at(0)
            return 0.0
        content = self.state.load(self.state_path)
        if content["options"] != _fingerprint(self.options):
            raise InputError(
                f"{self.state_path}: a training with other options or photos stopped here; give the same ones to "
                "go on with it, or remove that folder."
            )
        self.record.start_at(self.state.iteration)
        self.progress.note(f"resumes at iteration {self.state.iteration}")
        return float(content["seconds"])


def _new(width: int) -> DiffLL:
    return DiffLL(Architecture(ch=width, hfrm_channels=width))


def _fingerprint(options: Options) -> str:
    """What the numbers depend on."""
    values = dataclasses.asdict(options)
    for name in ("output", "evaluate", "workers", "sample_every", "keep_every"):
        del values[name]
    return json.dumps(values, default=str, sort_keys=True)


def _row(pair: Pair, picture: Any) -> list[Any]:
    return [pair.dark, picture, pair.bright]
