"""From a plan to records: what is pending, what fits, group after group."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import runtime.errors
from export.cost.count import GraphCost, package_costs, photo_bytes
from runtime.cli.progress import Progress
from runtime.errors import DiffLLError
from runtime.machine.host import free_memory_bytes

from . import describe
from .budgets import Config
from .machine import fingerprint, moment
from .measure import Bench, Measurement, groups
from .photos import Photos
from .process import WorkerError
from .records import ResultsFile, check_same

_MARGIN = 512 << 20  # of the free memory, left to the machine
_PROCESS = {"package": 300 << 20, "naive-onnx": 300 << 20, "pytorch": 700 << 20}  # the interpreter and the libraries


@dataclass
class Plan:
    """The configurations, with what each costs and which record is its own."""

    configs: Sequence[Config]
    fingerprint: Mapping[str, Any]
    settings: Mapping[str, Any]
    costs: dict[tuple[str, tuple[int, int]], dict[str, GraphCost]] = field(default_factory=dict)

    def key(self, config: Config) -> str:
        return describe.key_of(config, self.fingerprint, self.settings)

    def cost(self, config: Config) -> dict[str, GraphCost]:
        place = (config.package_sha256, config.padded)
        if place not in self.costs:
            width, height = config.padded
            self.costs[place] = package_costs(config.package, height, width)
        return self.costs[place]

    def needed(self, config: Config) -> int:
        """Bytes of memory, predicted from the graphs."""
        width, height = config.padded
        return _PROCESS[config.job.kind] + photo_bytes(config.package, self.cost(config), height, width)

    def reference(self, config: Config, steps: int) -> Config | None:
        """The configuration that shows what the fp32 package of the same checkpoint makes of the same noise."""
        wanted = ("package", "fp32", config.checkpoint_sha256, config.size, config.job.sampler, steps)
        for one in self.configs:
            found = (one.job.kind, one.precision, one.checkpoint_sha256, one.size, one.job.sampler, one.job.steps)
            if found == wanted:
                return one
        return None


def run(output: Path, configs: Sequence[Config], photos: Photos, rounds: int, limit_s: float | None = None) -> int:
    """Measure what ``output`` does not hold yet; begin no group of configurations after ``limit_s`` seconds.

    Raises DiffLLError for what the command got wrong, before anything is timed.
    """
    progress, until = Progress(), None if limit_s is None else time.monotonic() + limit_s
    plan = Plan(configs, fingerprint(), {"rounds": rounds, "photo": photos.source})
    with ResultsFile(output) as results, tempfile.TemporaryDirectory(prefix="diffll-benchmarks-") as folder:
        if results.torn:
            progress.note(f"{output}: its last line was cut short ({results.torn!r}...); dropped")
        check_same(output, results.records, plan.fingerprint, plan.settings)
        done = {record["id"]: record for record in results.records}
        pending = [config for config in configs if plan.key(config) not in done]
        skipped = len(configs) - len(pending)
        if skipped:
            progress.note(f"{output}: {skipped} of {len(configs)} configurations are there already")
        for config in configs:
            if "failed" in done.get(plan.key(config), {}):
                progress.note(f"failed before, delete its line to try again: {config.label}")
        bench = Bench(Path(folder), photos, rounds, progress)
        pending = check_opens(bench, plan, results, pending)
        measure_all(bench, plan, results, pending, until)
        progress.note(f"{output}: {len(results.records)} records")
    return 0


def check_opens(bench: Bench, plan: Plan, results: ResultsFile, pending: Sequence[Config]) -> list[Config]:
    """Open every package with every backend once, before anything is timed; what opens.

    A backend that is not here, and one that takes none of the packages, is the command's mistake: its error is raised.
    One that takes some of them: the others are recorded as failed.
    """
    errors: dict[tuple[str, str | None, str], WorkerError | None] = {}
    for config in pending:
        place = (config.job.backend, config.job.provider, config.job.package)
        if config.job.kind == "package" and place not in errors:
            errors[place] = error = bench.check(config)
            if error is not None and error.kind != "InputError":
                raise _as_ours(error)
    for (backend, provider, _), error in errors.items():
        if error and all(one for place, one in errors.items() if place[:2] == (backend, provider)):
            raise _as_ours(error)
    opens = []
    for config in pending:
        error = errors.get((config.job.backend, config.job.provider, config.job.package))
        if error is None:
            opens.append(config)
        else:
            bench.progress.note(f"failed: {config.label}: {error}")
            base = describe.head(config, plan.fingerprint, plan.settings)
            results.append(describe.failed(base, Measurement(config, failed=str(error)), plan.needed(config)))
    return opens


def measure_all(bench: Bench, plan: Plan, results: ResultsFile, pending: Sequence[Config], until: float | None) -> None:
    """Size by size, in groups that fit into memory; what would not fit alone is recorded as such."""
    free = free_memory_bytes()
    free = None if free is None else free - _MARGIN
    sizes = list(dict.fromkeys(config.size for config in plan.configs))
    fitting: list[tuple[Config, int]] = []
    for config in sorted(pending, key=lambda config: sizes.index(config.size)):
        needed = plan.needed(config)
        if config.on_device:  # an engine fuses what it can: whether it fits is for the GPU to say
            fitting.append((config, 0))
        elif free is None or needed <= free:
            fitting.append((config, needed))
        else:
            bench.progress.note(f"does not fit: {config.label}: {needed >> 20:,} MiB, free are {free >> 20:,} MiB")
            results.append(describe.unfit(describe.head(config, plan.fingerprint, plan.settings), needed, free))
    for group in groups(fitting, free):
        if until is not None and time.monotonic() > until:
            left = ", ".join(f"{width}x{height}" for width, height in sizes[sizes.index(group[0].size) :])
            bench.progress.note(f"the time is over: {left} not measured; run again, it resumes")
            break
        measure_group(bench, plan, results, group)


def measure_group(bench: Bench, plan: Plan, results: ResultsFile, group: Sequence[Config]) -> None:
    """Measure configurations of one size in turns and append their records."""
    started, before = datetime.now(timezone.utc), moment()
    peak = bench.probe(plan.fingerprint["cores_used"])
    measurements = bench.measure(group)
    peak = _higher(peak, bench.probe(plan.fingerprint["cores_used"]))
    run = {
        "started": started.isoformat(timespec="seconds"),
        "group": f"{started:%Y%m%dT%H%M%S}-{plan.key(group[0])[:6]}",
        "members": [plan.key(one.config) for one in measurements if not one.failed],
        "before": before,
        "after": moment(),
    }
    pictures: dict[str, Path | None] = {plan.key(one.config): one.picture for one in measurements if one.picture}
    for one in measurements:
        needed = plan.needed(one.config)
        record = describe.head(one.config, plan.fingerprint, plan.settings)
        if one.failed:
            results.append(describe.failed(record, one, needed))
            continue
        record = describe.measured(record, one, run, needed)
        record = describe.speed(record, plan.cost(one.config), peak)
        results.append(record | compare(bench, plan, one, pictures))


def compare(bench: Bench, plan: Plan, one: Measurement, pictures: dict[str, Path | None]) -> dict[str, Any]:
    """Fidelity against the fp32 package with the same steps, and with the package's own number of steps.

    A reference that is not in this group (it was measured before) is run once more for its picture.
    """
    own = one.config.package.manifest.num_inference_steps
    found: dict[str, Any] = {}
    for name, steps in (("fidelity", one.config.job.steps), ("fidelity_to_published_steps", own)):
        reference = plan.reference(one.config, steps)
        found[name] = None
        if reference is None or one.picture is None:
            continue
        key = plan.key(reference)
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
    """The higher peak of two probes: whatever disturbed one made it lower."""
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
