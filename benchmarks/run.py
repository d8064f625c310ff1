"""From configurations to records: what is pending, what fits, group after group."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import runtime.errors
from runtime.cli.progress import Progress
from runtime.errors import DiffLLError
from runtime.machine.leftovers import scratch_folder
from runtime.names import PUBLISHED

from . import describe
from .configs import Config, Size
from .job import Loop
from .machine import fingerprint, moment
from .measure import Bench, Measurement
from .needs import baseline_bytes
from .photos import Photos
from .process import WorkerError
from .records import Record, ResultsFile, check_same
from .room import Room, groups, with_context


@dataclass
class Matrix:
    """The configurations, and what all of their records share."""

    configs: Sequence[Config]
    fingerprint: Mapping[str, Any]
    settings: Mapping[str, Any]
    needs: dict[str, int] = field(default_factory=dict)
    """Key of a configuration that opens -> bytes of memory, predicted."""

    def key(self, config: Config) -> str:
        """The id of the configuration's record."""
        return describe.key_of(config, self.fingerprint, self.settings)

    def head(self, config: Config) -> Record:
        return describe.head(config, self.fingerprint, self.settings)

    def reference(self, config: Config, loop: Loop) -> Config | None:
        """The configuration that shows what the fp32 package of the same checkpoint makes of the same noise."""
        wanted = ("package", "fp32", config.checkpoint_sha256, config.size, loop)
        for one in self.configs:
            found = (one.job.kind, one.precision, one.checkpoint_sha256, one.size, one.job.loop)
            if found == wanted:
                return one
        return None


def run(output: Path, configs: Sequence[Config], photos: Photos, rounds: int, limit_s: float | None = None) -> int:
    """Measure what ``output`` does not hold yet; begin no group of configurations that would, at the pace of the
    one before, end after ``limit_s`` seconds.

    Raises DiffLLError for what the command got wrong, before anything is timed.
    """
    progress, until = Progress(), None if limit_s is None else time.monotonic() + limit_s
    matrix = Matrix(configs, fingerprint(), {"rounds": rounds, "photo": photos.source})
    with ResultsFile(output) as results, scratch_folder("benchmarks") as folder:
        if results.torn:
            progress.note(f"{output}: its last line was cut short ({results.torn!r}...); dropped")
        check_same(output, results.records, matrix.fingerprint, matrix.settings)
        done = {record["id"]: record for record in results.records}
        pending = [config for config in configs if matrix.key(config) not in done]
        skipped = len(configs) - len(pending)
        if skipped:
            progress.note(f"{output}: {skipped} of {len(configs)} configurations are there already")
        for config in configs:
            if "failed" in done.get(matrix.key(config), {}):
                progress.note(f"failed before, delete its line to try again: {config.label}")
        bench = Bench(folder, photos, rounds, progress)
        pending = check_opens(bench, matrix, results, pending)
        measure_all(bench, matrix, results, pending, until)
        progress.note(f"{output}: {len(results.records)} records")
    return 0


def check_opens(bench: Bench, matrix: Matrix, results: ResultsFile, pending: Sequence[Config]) -> list[Config]:
    """Open every package with every backend once, before anything is timed; the configurations that open.

    A backend that is not here, and one that takes none of the packages, is the command's mistake: its error is raised.
    One that takes some of them: the others are recorded as failed.
    """
    sizes = list(dict.fromkeys(config.size for config in pending))
    found: dict[tuple[str, str | None, str], dict[Size, int] | WorkerError] = {}
    for config in pending:
        place = (config.job.backend, config.job.provider, config.job.package)
        if config.job.kind == "package" and place not in found:
            found[place] = answer = bench.opens(config, sizes)
            if isinstance(answer, WorkerError) and answer.kind != "InputError":
                raise _as_ours(answer)
    for (backend, provider, _), answer in found.items():
        same = [one for place, one in found.items() if place[:2] == (backend, provider)]
        if isinstance(answer, WorkerError) and all(isinstance(one, WorkerError) for one in same):
            raise _as_ours(answer)
    opens = []
    for config in pending:
        own = found.get((config.job.backend, config.job.provider, config.job.package))
        if isinstance(own, WorkerError):
            bench.progress.note(f"failed: {config.label}: {own}")
            results.append(describe.failed(matrix.head(config), Measurement(config, failed=str(own)), None))
            continue
        matrix.needs[matrix.key(config)] = baseline_bytes(config) if own is None else own[config.size]
        opens.append(config)
    return opens


def measure_all(
    bench: Bench, matrix: Matrix, results: ResultsFile, pending: Sequence[Config], until: float | None
) -> None:
    """Size by size, in groups that fit into memory; what would not fit alone is recorded as such.

    The same loops stand together: where a size makes two groups, what a ratio is formed of is in one.
    """
    room = Room.now()
    loops = list(dict.fromkeys(config.job.loop for config in matrix.configs))
    sizes = list(dict.fromkeys(config.size for config in matrix.configs))
    fitting: list[tuple[Config, int]] = []
    for config in sorted(pending, key=lambda config: (sizes.index(config.size), loops.index(config.job.loop))):
        needed, free = with_context(config, matrix.needs[matrix.key(config)]), room.of(config)
        if free is None or needed <= free:
            fitting.append((config, needed))
        else:
            where = "free on the GPU" if config.on_device else "free"
            bench.progress.note(f"does not fit: {config.label}: {needed >> 20:,} MiB, {where} are {free >> 20:,} MiB")
            results.append(describe.unfit(matrix.head(config), needed, free))
    pace = 0.0  # seconds a configuration, of the last group: the first may hold a compiler
    peak: dict[str, Any] | None = None
    for group in groups(fitting, room):
        started = time.monotonic()
        if until is not None and started + pace * len(group) > until:
            left = ", ".join(f"{width}x{height}" for width, height in sizes[sizes.index(group[0].size) :])
            bench.progress.note(f"the time is over: {left} not measured; run again, it resumes")
            break
        peak = measure_group(bench, matrix, results, group, peak or bench.gemm_peak(matrix.fingerprint["cores_used"]))
        pace = (time.monotonic() - started) / len(group)


def measure_group(
    bench: Bench, matrix: Matrix, results: ResultsFile, group: Sequence[Config], peak_before: dict[str, Any]
) -> dict[str, Any]:
    """Measure configurations of one size in turns and append their records; the GEMM peak after it, which is the one
    before the next group."""
    started, before = datetime.now(timezone.utc), moment()
    measurements = bench.measure(group)
    peak_after = bench.gemm_peak(matrix.fingerprint["cores_used"])
    peak = _higher(peak_before, peak_after)
    run = {
        "started": started.isoformat(timespec="seconds"),
        "group": f"{started:%Y%m%dT%H%M%S}-{matrix.key(group[0])[:6]}",
        "members": [matrix.key(one.config) for one in measurements if not one.failed],
        "before": before,
        "after": moment(),
    }
    pictures: dict[str, Path | None] = {matrix.key(one.config): one.picture for one in measurements if one.picture}
    for one in measurements:
        needed = matrix.needs[matrix.key(one.config)]
        record = matrix.head(one.config)
        if one.failed:
            results.append(describe.failed(record, one, needed))
            continue
        record = describe.measured(record, one, run, needed)
        record = describe.speed(record, one.config.flop, peak)
        results.append(record | compare(bench, matrix, one, pictures))
    return peak_after


def compare(bench: Bench, matrix: Matrix, one: Measurement, pictures: dict[str, Path | None]) -> dict[str, Any]:
    """Fidelity against the fp32 package with the same loop, and with the published one (of another sampler: with the
    package's own number of steps).

    A reference that is not in this group (it was measured before) is run once more for its picture.
    """
    job, steps = one.config.job, one.config.package.manifest.num_inference_steps
    own = Loop(steps, job.sampler, PUBLISHED if job.sampler == "ddim" else "")
    found: dict[str, Any] = {}
    for name, loop in (("fidelity", job.loop), ("fidelity_to_published_steps", own)):
        reference = matrix.reference(one.config, loop)
        found[name] = None
        if reference is None or one.picture is None:
            continue
        key = matrix.key(reference)
        if key not in pictures:
            try:
                kept = bench.folder / f"reference-{key}.npy"
                pictures[key] = bench.picture(reference).replace(kept)
            except WorkerError as error:
                bench.progress.note(f"no reference picture of {reference.label}: {error}")
                pictures[key] = None
        path = pictures[key]
        if path is not None:
            found[name] = describe.fidelity(one.picture, path, key)
    return found


def _higher(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """The higher of two peaks: whatever disturbed one made it lower."""
    found: dict[str, Any] = {"how": f"{a['how']}; the best before and after"}
    for device in ("cpu", "cuda"):
        one, other = a[device] or {}, b[device] or {}
        found[device] = {kind: max(rate, other.get(kind, 0.0)) for kind, rate in one.items()} or None
    return found


def _as_ours(error: WorkerError) -> DiffLLError:
    """What the worker raised, as the same class here."""
    kind = getattr(runtime.errors, error.kind, None)
    made = kind(str(error)) if isinstance(kind, type) and issubclass(kind, DiffLLError) else error
    assert isinstance(made, DiffLLError)
    return made
