"""``python -m export.engine``: package -> engines for this machine, kept beside the package. No PyTorch."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.cli.command import INTERRUPTED, Parser, fail, photo_size, run_command
from runtime.errors import DiffLLError, EngineError, InputError
from runtime.names import LOOP, TARGETS

if TYPE_CHECKING:
    from runtime.engines.cache import EngineCache, EngineKey
    from runtime.names import Precision
    from runtime.package.manifest import Stage
    from runtime.package.reading import Package

    from .builders.base import Builder
    from .builders.profiles import SizeRange

TENSORRT = ("tensorrt", "tensorrt-rtx")
TAKEN_BY = {
    "batch": TENSORRT,
    "workspace": TENSORRT,
    "optimization_level": TENSORRT,
    "hardware_compatibility": ("tensorrt",),
    "compute_capability": ("tensorrt-rtx",),
}
T = TypeVar("T")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked: one that the target has not is an error, not ignored. (``--size`` and ``--max-size`` say
    nothing to ncnn, whose engines take every size.)"""
    parser = Parser(
        prog="python -m export.engine",
        description="Build the engines of a package for this machine; what is built already is kept.",
    )
    parser.add_argument("package", type=Path, metavar="PACKAGE")
    parser.add_argument("--target", choices=TARGETS, required=True)
    parser.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="WxH",
        help="a photo size to serve, the first is tuned for; one alone gives engines of that size only (openvino: "
        "engines of each size that is given)",
    )
    parser.add_argument(
        "--max-size", metavar="WxH", help="serve every photo up to this (default, without --size: 1920x1080)"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="largest batch (default: 1)")
    parser.add_argument("--workspace", type=int, metavar="MIB", help="limit of the builder's scratch memory")
    parser.add_argument("--optimization-level", type=int, choices=range(6), metavar="0..5", help="builder's effort")
    parser.add_argument(
        "--hardware-compatibility",
        choices=("none", "ampere_plus", "same_compute_capability"),
        default="none",
        help="TensorRT: engines that run on other GPUs too, somewhat slower",
    )
    parser.add_argument(
        "--compute-capability",
        action="append",
        default=[],
        metavar="X.Y",
        help="TensorRT-RTX: build for these GPUs (default: all it supports)",
    )
    parser.add_argument("--rebuild", action="store_true", help="build even what is there already")
    args = parser.parse_args(argv)
    if args.batch < 1 or (args.workspace is not None and args.workspace < 1):
        parser.error("--batch and --workspace are numbers from 1 up")
    given = [name for name in TAKEN_BY if getattr(args, name) != parser.get_default(name)]
    unused = [f"--{name.replace('_', '-')}" for name in given if args.target not in TAKEN_BY[name]]
    if unused:
        parser.error(
            f"{', '.join(unused)}: not for --target {args.target}, whose engines have no such option. Leave it out"
        )
    return args


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)

    from runtime.cli.progress import Progress
    from runtime.engines.cache import EngineCache
    from runtime.package.reading import Package

    package = Package.open(args.package)
    ranges = size_ranges(args, package.manifest.pad_multiple)
    builder = make_builder(args, package.manifest.precision)
    progress, cache = Progress(), EngineCache(args.package)
    command = shlex.join(["python", "-m", "export.engine", *(word for word in argv if word != "--rebuild")])
    waiting = f"another process builds in {cache.folder}; waiting for it"
    built = there = 0
    with build_lock(cache.folder, lambda: progress.note(waiting)):
        for sizes in ranges:
            for stage in package.manifest.stages:
                key = engine_key(package, stage, builder, sizes, args.batch)
                if not args.rebuild and cache.find(key) is not None:
                    there += 1
                    continue
                last = last_build(cache, key)
                expectation = f"last time {last:.1f} s" if last is not None else "no earlier build to compare with"
                with progress.task(f"building {stage.name} for {builder.environment['library']}", expectation):
                    files, report = build(cache, package, key, builder)
                cache.store(key, files, report | {"command": command})
                built += 1
    print(cache.folder)
    progress.note(f"{built} of {built + there} engines built, {there} were there")
    return 0


@contextmanager
def build_lock(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Build into the cache ``folder`` alone: a second builder waits, after ``waiting`` was called once. The lock ends
    with the process. Raises EngineError where the folder cannot be written."""
    from runtime.engines.libraries import load

    filelock: Any = load("filelock", "export.engine")
    lock = filelock.FileLock(folder / ".lock", mode=0o600)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            waiting()
            lock.acquire()
    except OSError as error:
        raise EngineError(
            f"{folder}: cannot be written ({error.strerror}); engines are kept beside the package, so copy the package "
            "to a folder of your own."
        ) from error
    try:
        yield
    finally:
        lock.release()


def size_ranges(args: argparse.Namespace, pad_multiple: int) -> list[SizeRange | None]:
    """What each set of engines has to take; None: every size. Raises InputError."""
    from .builders.profiles import size_range

    max_size = photo_size(args.max_size) if args.max_size else None
    sizes = [photo_size(size) for size in args.size]
    if args.target in TENSORRT:
        return [size_range(sizes, max_size, pad_multiple)]
    if args.target == "openvino" and max_size:
        raise InputError(
            "--max-size: not for --target openvino, whose engines take one size or every size; give each --size, or "
            "none."
        )
    if args.target == "openvino" and sizes:
        return list(dict.fromkeys(size_range([size], None, pad_multiple) for size in sizes))
    return [None]


def make_builder(args: argparse.Namespace, precision: Precision) -> Builder:
    """The builder of the target. Raises BackendUnavailableError or InputError."""
    if args.target in TENSORRT:
        from .builders.tensorrt import Options, TensorRTBuilder

        options = Options(
            workspace_mib=args.workspace,
            optimization_level=args.optimization_level,
            hardware_compatibility=args.hardware_compatibility,
            compute_capabilities=tuple(args.compute_capability),
        )
        return TensorRTBuilder(args.target, options)
    if args.target == "openvino":
        from .builders.openvino import OpenVinoBuilder

        return OpenVinoBuilder(precision)
    from .builders.ncnn import NcnnBuilder

    return NcnnBuilder()


def engine_key(package: Package, stage: Stage, builder: Builder, sizes: SizeRange | None, batch: int) -> EngineKey:
    """Everything that makes this stage's engine stale."""
    from runtime.engines.cache import EngineKey

    from .builders.profiles import profile

    return EngineKey(
        stage=stage.name,
        graph_sha256=package.manifest.files[stage.file][0],
        target=builder.target,
        environment=builder.environment,
        profile={} if sizes is None else profile(stage, sizes, batch),
        flags=builder.flags,
    )


def build(
    cache: EngineCache, package: Package, key: EngineKey, builder: Builder
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files and the report of one engine. Raises PackageError for a graph that may not be one, EngineError."""
    graph = package.graph(key.stage)
    timing_cache = cache.folder / f"timing-{key.target}.cache"
    started = time.perf_counter()
    files, more = in_thread(lambda: builder.build(graph, key.profile, timing_cache))
    seconds = round(time.perf_counter() - started, 2)
    report = {"build_seconds": seconds, "engine_bytes": sum(map(len, files.values()))}
    return files, report | more | attention_report(package, key, more.get("activation_bytes"))


def last_build(cache: EngineCache, key: EngineKey) -> float | None:
    """Seconds that the newest engine of this stage and target took."""
    same = (one for one in cache.entries() if (one.key.get("stage"), one.key.get("target")) == (key.stage, key.target))
    return next((engine.report.get("build_seconds") for engine in same), None)


def attention_report(package: Package, key: EngineKey, activation_bytes: int | None) -> dict[str, Any]:
    """Whether the denoiser's attention is fused at the largest size, told from the engine's memory."""
    from runtime.engines.fit import photo_of

    arch = package.manifest.provenance.get("architecture")
    if key.stage != LOOP or not isinstance(arch, dict) or not key.profile or activation_bytes is None:
        return {}
    largest = {name: corners[2] for name, corners in key.profile.items()}
    batch, width, height = photo_of(package.manifest.stage(key.stage), largest)
    levels = [*arch["attention_levels"], len(arch["ch_mult"]) - 1]
    positions = width * height // 4 ** (arch["levels"] + min(levels))
    score_matrix = batch * positions**2 * (4 if package.manifest.precision in ("fp32", "int8") else 2)
    if activation_bytes < score_matrix:
        verdict = "fused: all activations together are smaller than one score matrix"
    elif activation_bytes < 4 * score_matrix:
        verdict = "not fused: the activations hold the score matrix"
    else:
        verdict = "cannot be told at this size: other activations outweigh the score matrix"
    return {"score_matrix_bytes": score_matrix, "attention": verdict}


def in_thread(work: Callable[[], T]) -> T:
    """Run ``work`` while this thread stays free for Ctrl-C: the library's build cannot be interrupted from inside.

    An interrupt ends the process at once. Nothing of the engine is on disk yet at that time.
    """
    from concurrent.futures import Future, wait

    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        while not wait([done], timeout=0.2).done:
            pass
    except KeyboardInterrupt:
        fail("interrupted; nothing half-written is left behind.")
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    error = done.exception()
    if error is None or isinstance(error, DiffLLError | MemoryError):
        return done.result()
    raise EngineError(
        f"the build stopped with {error!r}. If neither the disk nor memory ran out, this is a bug of ours: report it "
        "with these words and what `python -m runtime.doctor` prints."
    ) from error


def main_and_leave(argv: Sequence[str] | None = None) -> int:
    """``main``, and the end of the process with it. What a library cleans up after that has waited for ever (seen
    once, with OpenVINO 2026.4 and every engine in place)."""
    code = main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run_command(main_and_leave)
