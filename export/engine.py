"""``python -m export.engine``: package -> engines for this machine, kept beside the package. No PyTorch."""

from __future__ import annotations

import argparse
import os
import shlex
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from runtime.cli.command import INTERRUPTED, Parser, fail, photo_size, run_command
from runtime.cli.interrupts import exit_code
from runtime.cli.progress import Progress
from runtime.cli.streams import tell
from runtime.engines.cache import EngineCache, EngineKey
from runtime.engines.libraries import load
from runtime.engines.refusal import NotTaken
from runtime.engines.signing import make_key
from runtime.errors import DiffLLError, EngineError, InputError
from runtime.machine.leftovers import remove_held
from runtime.names import TARGETS, Precision
from runtime.package.manifest import Stage
from runtime.package.reading import Package

from .builders.base import Builder

if TYPE_CHECKING:  # numpy comes with it: --help does not need it
    from .builders.profiles import SizeRange

TENSORRT = ("tensorrt", "tensorrt-rtx")
TAKEN_BY = {
    "batch": TENSORRT,
    "workspace": TENSORRT,
    "optimization_level": TENSORRT,
    "hardware_compatibility": ("tensorrt",),
    "compute_capability": ("tensorrt-rtx",),
    "no_tf32": (*TENSORRT, "cuda"),
}
P = ParamSpec("P")
T = TypeVar("T")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked: one that the target has not is an error, not ignored. (``--size`` and ``--max-size`` say
    nothing to ncnn and cuda, whose engines take every size.)"""
    what = "Build the engines of a package for this machine; what is built already is kept."
    parser = Parser(
        prog="python -m export.engine",
        description=what,
        examples=(
            "%(prog)s build/diffll-fp32 --target openvino --size 600x400",
            "%(prog)s build/diffll-fp16 --target tensorrt --max-size 1920x1080",
        ),
    )
    add = parser.add_argument
    add("package", type=Path, metavar="PACKAGE")
    add("--target", choices=TARGETS, required=True, help="what will run them; cuda: onnxruntime with --provider CUDA")
    size = "engines of this photo size alone; of several: for all between, tuned for the first (openvino: for each)"
    add("--size", action="append", default=[], metavar="WxH", help=size)
    add("--max-size", metavar="WxH", help="serve every photo up to this (default, without --size: 1920x1080)")
    add("--batch", type=int, default=1, metavar="N", help="largest batch (default: 1)")
    add("--workspace", type=int, metavar="MIB", help="limit of the builder's scratch memory")
    add("--optimization-level", type=int, choices=range(6), metavar="0..5", help="builder's effort")
    levels, others = ("none", "ampere_plus", "same_compute_capability"), "TensorRT: for other GPUs too, somewhat slower"
    add("--hardware-compatibility", choices=levels, default="none", help=others)
    gpus = "TensorRT-RTX: build for these GPUs (default: all it supports)"
    add("--compute-capability", action="append", default=[], metavar="X.Y", help=gpus)
    add("--no-tf32", action="store_true", help="form products of float32 in full: slower, closer in fp32")
    add("--rebuild", action="store_true", help="build even what is there already")
    args = parser.parse_args(argv)
    if args.batch < 1 or (args.workspace is not None and args.workspace < 1):
        parser.error("--batch and --workspace are numbers from 1 up")
    given = [name for name in TAKEN_BY if getattr(args, name) != parser.get_default(name)]
    unused = ", ".join(f"--{name.replace('_', '-')}" for name in given if args.target not in TAKEN_BY[name])
    if unused:
        parser.error(f"{unused}: not for --target {args.target}, whose engines have no such option. Leave it out")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    package, cache, progress = Package.open(args.package), EngineCache(args.package), Progress()
    ranges = size_ranges(args, package.manifest.pad_multiple)
    builder = make_builder(args, package.manifest.precision)
    command = shlex.join(["python", "-m", "export.engine", str(args.package), *options(argv, args.package)])
    timing_cache = cache.folder / f"timing-{builder.target}.cache"
    built = there = 0
    with build_lock(cache, args.target, progress):
        make_key()  # before the work: an engine that cannot be signed is of no use
        for sizes, stage in product(ranges, package.manifest.stages):
            key = engine_key(package, stage, builder, sizes, args.batch)
            if not args.rebuild and is_there(cache, key, progress):
                there += 1
                continue
            last = next((one.report.get("build_seconds") for one in cache.entries(stage.name, builder.target)), None)
            expectation = f"last time {last:.1f} s" if last is not None else "no earlier build to compare with"
            with progress.task(f"building {stage.name} for {builder.environment['library']}", expectation):
                graph = package.graph(stage.name)
                started = time.perf_counter()
                files, more = in_thread(builder.build, graph, key.profile, timing_cache)
                seconds = round(time.perf_counter() - started, 2)
                if empty := [name for name, content in files.items() if not content]:
                    reason = f"left {empty[0]} of {stage.name} empty; is the disk for temporary files full?"
                    raise EngineError(f"{builder.environment['library']} {reason}")
            report = {"build_seconds": seconds, "engine_bytes": sum(map(len, files.values())), "command": command}
            cache.store(key, files, report | more)
            built += 1
    tell(cache.folder)
    progress.note(f"{built} of {built + there} engines built, {there} were there")
    return 0


def options(argv: Sequence[str], package: Path) -> list[str]:
    """The words of the command line without the package and --rebuild."""
    flags = ("--rebuild", "--no-tf32")
    behind = [i > 0 and argv[i - 1].startswith("--") and argv[i - 1] not in flags for i in range(len(argv))]
    place = next((i for i, word in enumerate(argv) if Path(word) == package and not behind[i]), -1)
    return [word for i, word in enumerate(argv) if i != place and word != "--rebuild"]


def is_there(cache: EngineCache, key: EngineKey, progress: Progress) -> bool:
    """Whether the engine is there, built by this user. One with another signature, or none, is told and built again.
    Raises EngineError for one that is damaged or that others can write to."""
    try:
        return cache.find(key) is not None
    except NotTaken as error:
        if error.cause != "foreign":
            raise
        progress.note(f"{key.stage}: the engine that is there is built again, as it is not taken: {error.reason}")
        return False


@contextmanager
def build_lock(cache: EngineCache, target: str, progress: Progress) -> Iterator[None]:
    """Build into the cache alone: a second builder says so and waits. The lock ends with the process. Raises
    EngineError where the cache is not this user's or cannot be written."""
    folder, place = cache.folder, cache.folder / ".lock"
    lock = load("filelock", "export.engine").FileLock(place, mode=0o600)
    try:
        if not folder.is_symlink():
            folder.mkdir(mode=0o755, exist_ok=True)
        cache.check(target)
        if os.path.lexists(folder / ".lock") and not stat.S_ISREG(os.lstat(folder / ".lock").st_mode):
            raise EngineError(
                f"{folder / '.lock'}: a link or no regular file; `rm {shlex.quote(str(folder / '.lock'))}`."
            )
        try:
            held = lock.acquire(timeout=0)
        except TimeoutError:
            progress.note(f"another process builds in {folder}; waiting for it")
            held = lock.acquire()
    except OSError as error:
        cure = "engines are kept beside the package, so copy the package to a folder of your own"
        raise EngineError(f"{folder}: cannot be written ({error.strerror}); {cure}.") from error
    with held:
        yield


def size_ranges(args: argparse.Namespace, pad_multiple: int) -> list[SizeRange | None]:
    """What each set of engines has to take; None: every size. Raises InputError."""
    from .builders.profiles import size_range

    max_size = photo_size(args.max_size) if args.max_size else None
    sizes = [photo_size(size) for size in args.size]
    if args.target in TENSORRT:
        return [size_range(sizes, max_size, pad_multiple)]
    if args.target == "openvino" and max_size:
        cure = "whose engines take one size or every size; give each --size, or none"
        raise InputError(f"--max-size: not for --target openvino, {cure}.")
    if args.target == "openvino" and sizes:
        return list(dict.fromkeys(size_range([size], None, pad_multiple) for size in sizes))
    return [None]


def make_builder(args: argparse.Namespace, precision: Precision) -> Builder:
    """The builder of the target. Raises BackendUnavailableError or InputError."""
    if args.target in TENSORRT:
        from .builders.tensorrt import Options, TensorRTBuilder

        options = Options(
            args.workspace,
            args.optimization_level,
            args.hardware_compatibility,
            tuple(args.compute_capability),
            tf32=not args.no_tf32,
        )
        return TensorRTBuilder(args.target, options)
    if args.target == "openvino":
        from .builders.openvino import OpenVinoBuilder

        return OpenVinoBuilder(precision)
    if args.target == "cuda":
        from .builders.cuda import CudaBuilder

        return CudaBuilder(precision, tf32=not args.no_tf32)
    from .builders.ncnn import NcnnBuilder

    return NcnnBuilder()


def engine_key(package: Package, stage: Stage, builder: Builder, sizes: SizeRange | None, batch: int) -> EngineKey:
    """Everything that makes this stage's engine stale."""
    from .builders.profiles import profile

    return EngineKey(
        stage=stage.name,
        graph_sha256=package.manifest.files[stage.file][0],
        target=builder.target,
        environment=builder.environment,
        profile={} if sizes is None else profile(stage, sizes, batch),
        flags=builder.flags,
    )


def in_thread(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run ``work`` while this thread stays free for Ctrl-C: the library's build cannot be interrupted from inside.

    An interrupt ends the process at once. Nothing of the engine is on disk yet at that time.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        while not wait([done], timeout=0.2).done:
            pass
    except KeyboardInterrupt as stop:
        remove_held()
        fail(INTERRUPTED)
        os._exit(exit_code(stop))
    error = done.exception()
    if error is None or isinstance(error, DiffLLError | MemoryError):
        return done.result()
    cure = "this is a bug of ours: report it with these words and what `python -m runtime.doctor` prints"
    raise EngineError(f"the build stopped with {error!r}. If neither the disk nor memory ran out, {cure}.") from error


def main_and_leave(argv: Sequence[str] | None = None) -> int:
    """``main``, and the end of the process with it. What a library cleans up after that has waited for ever (seen
    once, with OpenVINO 2026.4 and every engine in place)."""
    code = main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run_command(main_and_leave)
