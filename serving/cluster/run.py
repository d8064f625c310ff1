"""The driver: what is to be done, Ray Data that does it, and the journal of the results."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.cli.inputs import Item, Naming, plan_work
from runtime.errors import BackendUnavailableError, InputError
from runtime.package.manifest import CERTIFICATE, GOLDEN, MANIFEST
from runtime.package.reading import Package
from runtime.photo.journal import Journal, settings_digest
from runtime.running.arguments import choose_sampling

DIED = "the process that worked on it died twice; the photo is left out."


@dataclass(frozen=True)
class Job:
    """What the command was asked for."""

    package: str
    folder: str
    output: str
    backend: str
    sampling: str
    address: str | None
    actors: int | None


@dataclass
class Done:
    """What became of the photos."""

    total: int
    done: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Photo -> why."""


def run(job: Job) -> Done:
    """All photos of the folder and of those in it. Raises InputError, PackageError and BackendUnavailableError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here calls home
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            "Ray is not installed; run: pip install -e '.[cluster]' -c constraints.txt"
        ) from error

    package = Package.open(job.package)
    choose_sampling(package.manifest, job.sampling, None, None)
    names = {MANIFEST, CERTIFICATE, GOLDEN, *package.manifest.files}
    files = {name: (package.path / name).read_bytes() for name in names}
    folder, output = os.path.abspath(job.folder), os.path.abspath(job.output)
    work = plan_work([folder], output + os.sep, Naming(), recursive=True)
    graphs = {name: digest for name, (digest, _) in package.manifest.files.items() if name.endswith(".onnx")}
    journal = Journal(Path(output), settings_digest({"sampling": job.sampling, "files": graphs}))
    try:
        done, rows = _missing(journal, work.items)
        left = {row["input"] for row in rows}
        if rows:
            with _cluster(ray, job.address):
                for row in _results(ray, job, files, rows):
                    left.discard(row["input"])
                    _note(journal, done, row)
    finally:
        journal.close()
    done.failed |= dict.fromkeys(left, DIED)
    return done


def _missing(journal: Journal, items: tuple[Item, ...]) -> tuple[Done, list[dict[str, Any]]]:
    done, rows = Done(len(items)), []
    for item in items:
        try:
            verdict = journal.verdict(item.source, item.target)
        except OSError as error:
            done.failed[str(item.source)] = f"cannot be read: {error.strerror}"
            continue
        if verdict in ("done", "there"):
            done.skipped += 1
        else:
            row = {"input": str(item.source), "output": str(item.target), "root": str(item.root)}
            rows.append(row | {"replaces": verdict == "again"})
    return done, rows


@contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """The cluster at ``address``, to whose machines this code goes along; or one of this machine, for this run."""
    if ray.is_initialized():  # by the program that calls
        yield
        return
    code = Path(__file__).parents[2]
    options: dict[str, Any] = {"address": "local", "include_dashboard": False}
    if address is not None:
        modules = [str(code / name) for name in ("runtime", "serving")]
        options = {"address": address, "runtime_env": {"py_modules": modules}}
    try:
        ray.init(log_to_driver=False, **options)
    except (ConnectionError, ValueError) as error:
        raise InputError(f"no Ray cluster at {address}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _results(ray: Any, job: Job, files: dict[str, bytes], rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each photo, as they are done; none for one whose actor died twice.

    Ray's defaults retry for ever. One row a block, and one task at a time in an actor: a death costs one photo a try.
    """
    from .actor import Photos

    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1
    actors = min(len(rows), job.actors or sum(node["Alive"] for node in ray.nodes()))
    photos = ray.data.from_items(rows, override_num_blocks=len(rows))
    done = photos.map_batches(
        Photos,
        batch_size=1,
        fn_constructor_args=(files, job.backend, job.sampling),
        compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
        scheduling_strategy="SPREAD",
        max_restarts=-1,
        max_task_retries=1,
    )
    yield from done.iter_rows()


def _note(journal: Journal, done: Done, row: dict[str, Any]) -> None:
    if row["error"]:
        done.failed[row["input"]] = row["error"]
        return
    target = Path(row["output"])
    journal.begin((int(row["size"]), int(row["changed"])), target, target.read_bytes())
    journal.end(target)
    done.done += 1
