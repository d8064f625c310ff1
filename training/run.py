"""The training itself: iterations, reports, states to resume from, evaluations, and the checkpoint at the end."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
import time
from pathlib import Path

import torch
from torch import Tensor

from export.checkpoint import load_checkpoint
from export.files import suffix_of
from export.model import Architecture, DiffLL
from export.model.diffll import PUBLISHED_TIMESTEPS
from runtime.cli.alone import state_folder
from runtime.cli.progress import Progress
from runtime.errors import EngineError, InputError
from runtime.names import PUBLISHED

from .card import Score, write_card
from .checkpoint import write_checkpoint
from .course import Course, Loop
from .evaluate import evaluate, read_pairs
from .options import Options
from .photos import batches, read_photos
from .record import Record
from .state import State
from .step import NAMES, batch_losses, teach

REPORT = 20
"""Iterations between two looks at the losses, each of which waits for the device. States are kept after one."""
_SAY_S = 10.0
_MARGIN_S = 2.0  # of --minutes, for what is written at the end


class Training:
    """One run of the command."""

    def __init__(self, options: Options, started: float, progress: Progress) -> None:
        """started: ``time.monotonic()`` of the command's start. Raises InputError and PackageError."""
        self.options, self.progress = options, progress
        torch.manual_seed(options.seed)  # of a new network's weights
        torch.set_float32_matmul_precision("high")
        start = load_checkpoint(options.init).model() if options.init else _new(options.width)
        _check_patch(options.patch, start.arch)
        with progress.task("reading photos"):
            self.photos = read_photos(options.photos, options.goal, options.references, options.patch)
            self.pairs = read_pairs(options.evaluate) if options.evaluate else []
        for line in self.photos.left_out:
            progress.note(f"left out: {line}")
        self.device = torch.device(options.device)
        self.state = State.of(start, self.device)
        self.teacher = copy.deepcopy(self.state.ema) if options.goal == "teacher" else None  # before it resumes
        self.record = Record(folder_of(options.output))
        self.state_path = state_folder(options.output, "training") / "state.pt"
        before = self._resumed()
        self.course = Course(options, lambda: before + time.monotonic() - started)
        self.loops = {PUBLISHED: Loop(PUBLISHED_TIMESTEPS, False)}
        self.loops |= {one.name: Loop(one.timesteps, True) for one in options.trained}
        self.scores: list[Score] = []
        self._kept = self._evaluated = self._said = time.monotonic()

    def run(self) -> None:
        """Train, and leave checkpoint and card. Raises EngineError where a loss is no number."""
        options, first = self.options, self.state.iteration
        limit_s = math.inf if options.minutes is None else options.minutes * 60 - _MARGIN_S
        self.course.limit_s = max(1e-3, limit_s)
        plan, pinned = self.course.plan(first), self.device.type == "cuda"
        made = batches(self.photos, options.seed, plan, options.workers, pinned=pinned)
        if self.pairs:
            began = time.monotonic()
            self._evaluate()
            self.course.limit_s = max(1e-3, limit_s - 1.3 * (time.monotonic() - began))
        reports: list[Tensor] = []
        for dark, bright in made:
            if self.course.share(self.state.iteration) >= 1:
                break
            reports.append(self._iterate(dark, bright))
            if len(reports) == REPORT:
                self._report(reports)
                reports = []
                self._keep_and_evaluate()
        if reports:
            self._report(reports)
        if self.state.iteration == 0:
            raise InputError(
                f"--minutes {options.minutes:g}: they were over before the first iteration; the start and one "
                f"evaluation took {self.course.clock():.0f} s here. Give more, or leave --evaluate out."
            )
        self._write()
        if self.pairs:
            self._evaluate()
        write_card(options, len(self.photos.pairs), self.state.iteration, self.course.clock(), self.scores)
        shutil.rmtree(self.state_path.parent, ignore_errors=True)

    def _iterate(self, dark: Tensor, bright: Tensor) -> Tensor:
        """(6,): the losses and the gradient's norm, still on the device."""
        state, options, device = self.state, self.options, self.device
        random = torch.Generator(device).manual_seed((options.seed << 32) + state.iteration)
        dark, bright = (
            one.to(device, non_blocking=True).permute(0, 3, 1, 2).contiguous().float() / 255 for one in (dark, bright)
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            if self.teacher is not None:
                bright = teach(self.teacher, dark, random)
            loop = self.course.loop(state.iteration)
            found = batch_losses(state.model, dark, bright, loop, random, options.weights)
        norm = state.update(found[0], self.course.learning_rate(state.iteration))
        return torch.cat((found.detach(), norm[None]))

    def _report(self, reports: list[Tensor]) -> None:
        rows, last = torch.stack(reports).tolist(), self.state.iteration
        for index, row in enumerate(rows):
            if not all(map(math.isfinite, row)):
                self._stop(last - len(rows) + index)
        columns = zip(*rows, strict=True)
        means = {name: round(sum(one) / len(rows), 5) for name, one in zip(NAMES, columns, strict=True)}
        seconds = self.course.clock()
        rate = self.course.learning_rate(last - 1)
        self.record.add("losses", last, learning_rate=rate, seconds=round(seconds, 1), **means)
        if time.monotonic() - self._said > _SAY_S:
            self._said = time.monotonic()
            share = self.course.share(last)
            left = seconds / max(share, 1e-6) - seconds
            shown = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
            losses = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
            self.progress.note(f"iteration {last}, {100 * share:.0f} %, {shown} left: {losses}")

    def _stop(self, iteration: int) -> None:
        """At a loss that is no number: nothing has changed from ``iteration`` on, the weights are of before."""
        self.state.iteration = iteration
        told = f"iteration {iteration}: the loss or its gradient is no number"
        if iteration == 0:
            raise EngineError(f"{told}; nothing was trained. Take another --init, or --precision fp32.")
        self._keep()
        raise EngineError(
            f"{told}; the weights of before are in {self.options.output}. Go on from them with --init, another -o and "
            "a lower --learning-rate, or --precision fp32."
        )

    def _keep_and_evaluate(self) -> None:
        now = time.monotonic()
        if now - self._kept > 60 * self.options.keep_every:
            self._keep()
            self._kept = time.monotonic()
        if self.pairs and now - self._evaluated > 60 * self.options.sample_every:
            self._evaluate()

    def _keep(self) -> None:
        self.state.save(self.state_path, {"key": self._key(), "seconds": self.course.clock()})
        self._write()

    def _write(self) -> None:
        state, options = self.state, self.options
        write_checkpoint(options.output, state.model.arch, state.ema.state_dict(), options.trained, state.iteration)

    def _evaluate(self) -> None:
        iteration, columns = self.state.iteration, []
        for name, loop in self.loops.items():
            scores, pictures = evaluate(self.state.ema, self.pairs, loop)
            self.scores.append(Score(iteration, name, *scores))
            self.record.add("evaluation", iteration, sampling=name, psnr_db=scores[0], ssim=scores[1])
            self.progress.note(f"iteration {iteration}, {name}: {scores[0]:.2f} dB, SSIM {scores[1]:.4f}")
            columns.append(pictures)
        darks, brights = ([getattr(pair, part) for pair in self.pairs] for part in ("dark", "bright"))
        self.record.pictures(iteration, list(zip(darks, *columns, brights, strict=True)))
        self._evaluated = time.monotonic()

    def _resumed(self) -> float:
        """Seconds that were trained before, with the state of then."""
        if not self.state_path.exists():
            self.record.start_at(0)
            return 0.0
        content = self.state.load(self.state_path)
        if content["key"] != self._key():
            raise InputError(
                f"{self.state_path}: a training with other options or photos stopped here; give the same ones to "
                "go on with it, or remove that file."
            )
        self.record.start_at(self.state.iteration)
        self.progress.note(f"goes on from iteration {self.state.iteration}")
        return float(content["seconds"])

    def _key(self) -> str:
        """What the numbers depend on."""
        values = dataclasses.asdict(self.options) | {"photos": self.photos.key}
        for name in ("output", "references", "evaluate", "workers", "sample_every", "keep_every"):
            del values[name]
        return json.dumps(values, default=str, sort_keys=True)


def folder_of(output: Path) -> Path:
    """Of the records of a training, beside its checkpoint."""
    return output.with_name(output.name.removesuffix(suffix_of(output)) + "-training")


def _new(width: int) -> DiffLL:
    return DiffLL(Architecture(ch=width, hfrm_channels=width))


def _check_patch(patch: int, arch: Architecture) -> None:
    if patch % (2 * arch.pad_multiple):
        raise InputError(
            f"--patch is {patch}; a multiple of {2 * arch.pad_multiple} is wanted, as half of it has to fit this "
            "network's levels."
        )
