"""``python -m export.engine``: package -> engines for this machine, kept beside the package. No PyTorch."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from runtime.cli.command import INTERRUPTED, Parser, fail, photo_size, run_command
from runtime.errors import DiffLLError, InputError

if TYPE_CHECKING:
    from runtime.cli.progress import Progress
    from runtime.engines.cache import EngineCache, EngineKey
    from runtime.names import Precision
    from runtime.package.manifest import Stage
    from runtime.package.reading import Package

    from .builders.profiles import SizeRange

TARGETS = ("tensorrt", "tensorrt-rtx", "ncnn", "openvino")
ANY_SIZE = ("ncnn", "openvino")  # one engine takes every photo size, if no size is named
T = TypeVar("T")


class Builder(Protocol):
    """What a target is: a name, what its engines depend on, and one graph -> files."""

    target: Any

    @property
    def environment(self) -> dict[str, str]: ...

    def build(
        self, graph: bytes, profile: Mapping[str, Any], timing_cache: Path
    ) -> tuple[dict[str, bytes], dict[str, Any]]: ...


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
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
    parser.add_argument("--version-compatible", action="store_true", help="engines that later versions can load")
    parser.add_argument("--refittable", action="store_true", help="weights can be exchanged later")
    parser.add_argument("--stripped", action="store_true", help="without weights: to be refitted from the graph")
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
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)

    from runtime.cli.progress import Progress
    from runtime.engines.cache import EngineCache
    from runtime.package.reading import Package

    package = Package.open(args.package)
    ranges = size_ranges(args, package.manifest.pad_multiple)
    builder = make_builder(args, package.manifest.precision)
    progress, cache = Progress(), EngineCache(args.package)
    waiting = f"another process builds in {cache.folder}; waiting for it"
    with cache.lock(lambda: progress.note(waiting)):
        built = [
            ensure(cache, package, stage, builder, args, sizes, progress, command=_command(args))
            for sizes in ranges
            for stage in package.manifest.stages
        ]
    print(cache.folder)
    note = f"{sum(built)} of {len(built)} engines built, {len(built) - sum(built)} were there"
    progress.note(note)
    return 0


def size_ranges(args: argparse.Namespace, pad_multiple: int) -> list[SizeRange | None]:
    """What each set of engines has to take; None: every size. Raises InputError."""
    from .builders.profiles import size_range

    max_size = photo_size(args.max_size) if args.max_size else None
    sizes = [photo_size(size) for size in args.size]
    if args.target not in ANY_SIZE:
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
    """The builder of the target, with its options checked. Raises BackendUnavailableError or InputError."""
    if args.target in ANY_SIZE:
        return make_any_size_builder(args, precision)

    from .builders.tensorrt import Options, TensorRTBuilder

    return TensorRTBuilder(
        args.target,
        Options(
            workspace_mib=args.workspace,
            optimization_level=args.optimization_level,
            hardware_compatibility=args.hardware_compatibility,
            version_compatible=args.version_compatible,
            refittable=args.refittable,
            stripped=args.stripped,
            compute_capabilities=tuple(args.compute_capability),
        ),
    )


def make_any_size_builder(args: argparse.Namespace, precision: Precision) -> Builder:
    """These engines have no builder options: one that was given is an error, not ignored. ncnn's take every size:
    ``--size`` and ``--max-size`` say nothing to them."""
    given = {
        "--batch": args.batch != 1,
        "--workspace": args.workspace,
        "--optimization-level": args.optimization_level is not None,
        "--hardware-compatibility": args.hardware_compatibility != "none",
        "--version-compatible": args.version_compatible,
        "--refittable": args.refittable,
        "--stripped": args.stripped,
        "--compute-capability": args.compute_capability,
    }
    unused = [flag for flag, value in given.items() if value]
    if unused:
        raise InputError(
            f"{', '.join(unused)}: not for --target {args.target}, whose engines have no such option; leave it out."
        )
    if args.target == "openvino":
        from .builders.openvino import OpenVinoBuilder

        return OpenVinoBuilder(precision)
    from .builders.ncnn import NcnnBuilder

    return NcnnBuilder()


def engine_key(package: Package, stage: Stage, builder: Builder, sizes: SizeRange | None, batch: int) -> EngineKey:
    """Everything that makes this stage's engine stale."""
    from dataclasses import asdict

    from runtime.engines.cache import EngineKey

    from .builders.profiles import profile

    return EngineKey(
        stage=stage.name,
        graph_sha256=package.manifest.files[stage.file][0],
        target=builder.target,
        environment=builder.environment,
        profile={} if sizes is None else profile(stage, sizes, batch),
        flags=asdict(builder.options),  # type: ignore[attr-defined]
    )


def ensure(
    cache: EngineCache,
    package: Package,
    stage: Stage,
    builder: Builder,
    args: argparse.Namespace,
    sizes: SizeRange | None,
    progress: Progress,
    *,
    command: str,
) -> bool:
    """Build the engine of ``stage`` unless it is there; returns whether it was built."""
    key = engine_key(package, stage, builder, sizes, args.batch)
    if not args.rebuild and cache.find(key) is not None:
        return False
    graph = package.read(stage.file)
    last = last_build(cache, key)
    expectation = f"last time {last:.1f} s" if last is not None else "no earlier build of this kind to compare with"
    timing_cache = cache.folder / f"timing-{builder.target}.cache"
    with progress.task(f"building {stage.name} for {builder.environment['library']}", expectation):
        files, report = in_thread(lambda: builder.build(graph, key.profile, timing_cache))
    report |= attention_report(package, stage, sizes, args.batch, report.get("activation_bytes"))
    cache.store(key, files, report | {"command": command})
    return True


def last_build(cache: EngineCache, key: EngineKey) -> float | None:
    """Seconds that the newest engine of this stage and target took."""
    for engine in cache.entries():
        if (engine.key.get("stage"), engine.key.get("target")) == (key.stage, key.target):
            return engine.report.get("build_seconds")
    return None


def attention_report(
    package: Package, stage: Stage, sizes: SizeRange | None, batch: int, activation_bytes: int | None
) -> dict[str, Any]:
    """Whether the denoiser's attention is fused at the largest size, told from the engine's memory."""
    arch = package.manifest.provenance.get("architecture")
    if stage.name != "denoiser" or not isinstance(arch, dict) or sizes is None or activation_bytes is None:
        return {}
    levels = [*arch["attention_levels"], len(arch["ch_mult"]) - 1]
    width, height = (side // 2 ** (arch["levels"] + min(levels)) for side in sizes.largest)
    score_matrix = batch * (width * height) ** 2 * (4 if package.manifest.precision in ("fp32", "int8") else 2)
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
    result: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        fail("interrupted; nothing half-written is left behind.")
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    if errors:
        error = errors[0]
        raise error if isinstance(error, DiffLLError | MemoryError) else InputError(f"the build failed: {error!r}")
    return result[0]


def _command(args: argparse.Namespace) -> str:
    """The command line that builds the same engines again."""
    words = ["python", "-m", "export.engine", str(args.package), "--target", args.target]
    for size in args.size:
        words += ["--size", size]
    for flag, value in (
        ("--max-size", args.max_size),
        ("--workspace", args.workspace),
        ("--optimization-level", args.optimization_level),
    ):
        words += [] if value is None else [flag, str(value)]
    words += [] if args.batch == 1 else ["--batch", str(args.batch)]
    if args.hardware_compatibility != "none":
        words += ["--hardware-compatibility", args.hardware_compatibility]
    for one in args.compute_capability:
        words += ["--compute-capability", one]
    for flag in ("version_compatible", "refittable", "stripped"):
        words += [f"--{flag.replace('_', '-')}"] if getattr(args, flag) else []
    return shlex.join(words)


def main_and_leave(argv: Sequence[str] | None = None) -> int:
    """``main``, and the end of the process with it. What a library cleans up after that has waited for ever (seen
    once, with OpenVINO 2026.4 and every engine in place)."""
    code = main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run_command(main_and_leave)
