"""``python -m runtime.video`` (installed on a device: ``python -m diffll.video``): a clip or a camera in, video out."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ..beside import Behind, ahead
from ..command import Parser, add_engine_options, photo_size, program
from ..progress import Progress

if TYPE_CHECKING:
    from ...enhancer import Enhancer
    from .clip import Clip
    from .sources import Frame, LiveSource, Source

_AHEAD = 2  # frames that wait before the engine, and behind it
_EXAMPLES = (
    "%(prog)s build/diffll-fp32 night.mp4 -o bright.mp4",
    "%(prog)s build/diffll-fp32 /dev/video0 --size 640x480 -o camera.mkv",
    '%(prog)s build/diffll-fp32 "gst:videotestsrc" --size 640x480 -o - | ffplay -f rawvideo ...',
    "... | %(prog)s build/diffll-fp32 - --size 640x480 --fps 25 -o bright.mp4",
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog=program("video"),
        description="Brighten a clip with its sound, a camera, or raw frames on a pipe. Needs ffmpeg.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add("package", metavar="PACKAGE", help="a package directory made by `python -m export.build`")
    source = "a video file, /dev/video0, rtsp://..., gst:PIPELINE, or - for raw RGB24 frames on stdin"
    add("input", metavar="INPUT", help=source)
    output = "a file (.mp4, .mov, .mkv, .webm), or - for raw RGB24 on stdout"
    add("-o", dest="output", metavar="OUTPUT", required=True, help=output)
    add("--sampling", metavar="NAME", help="one that the package has (default: fast where it has that, else published)")
    add_engine_options(parser)
    add("--seed", type=int, metavar="N", help="of the noise, where the sampling starts from noise (default: 0)")
    add("--size", metavar="WxH", help="of the frames, for - and gst:, and asked of a device")
    add("--fps", metavar="N", help="frames a second of -, gst: or a device, such as 25 or 30000/1001")
    add("--frames", type=int, metavar="N", help="end after so many frames")
    add("--encoder", metavar="OPTIONS", help='ffmpeg options for the picture, such as "-c:v libx265 -crf 20"')
    add("--overwrite", action="store_true", help="replace a file that is already there")
    args = parser.parse_args(argv)
    if args.frames is not None and args.frames < 1:
        parser.error(f"--frames {args.frames}: at least 1 is needed")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    size = photo_size(args.size) if args.size else None
    frame_rate = _rate(args.fps)
    target = None if args.output == "-" else Path(args.output)

    from ...enhancer import Enhancer
    from ...names import PUBLISHED
    from ...running.arguments import check_no_noise, choose_sampling
    from .sinks import check_target

    if target is not None:
        check_target(target, args.overwrite)
    elif sys.stdout.isatty():
        raise InputError("-o - writes raw frames to stdout, which is a terminal; give a file, or pipe it on.")
    with ExitStack() as stack:
        source, clip = _open_source(args.input, size, frame_rate, target)
        stack.enter_context(closing(source))
        opened = Enhancer.open(args.package, backend=args.backend, providers=args.provider, max_memory=args.max_memory)
        enhancer = stack.enter_context(opened)
        name = args.sampling or ("fast" if "fast" in enhancer.manifest.samplings else PUBLISHED)
        sampling = choose_sampling(enhancer.manifest, name, None, None)
        if sampling.start == "zero":
            check_no_noise(sampling, None, args.seed)
        print(
            f"{source.width}x{source.height}, {float(source.frame_rate):.4g} frames a second, {name}", file=sys.stderr
        )
        count, seconds = brighten(enhancer, source, clip, target, name, args)
    where = "on stdout" if target is None else f"in {target}"
    dropped = getattr(source, "dropped", 0)
    late = f", {dropped} late ones dropped" if dropped else ""
    rate = count / seconds if seconds else 0.0
    print(f"{count} frames{late} {where}, {seconds:.1f} s, {rate:.2f} frames a second", file=sys.stderr)
    return 0


def _rate(text: str | None) -> Fraction | None:
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise InputError(f"--fps {text}: not a number of frames a second; write 25 or 30000/1001.")
    return rate


def _open_source(
    name: str, size: tuple[int, int] | None, frame_rate: Fraction | None, target: Path | None
) -> tuple[Source, Clip | None]:
    from .camera import is_camera, open_camera
    from .clip import read_clip
    from .sources import ClipSource, RawSource

    if name == "-":
        if size is None:
            raise InputError("raw frames on stdin do not say their size; give --size WxH.")
        return RawSource(sys.stdin.buffer, *size, frame_rate or Fraction(25)), None
    if is_camera(name):
        return open_camera(name, size, frame_rate), None
    if size is not None or frame_rate is not None:
        raise InputError(f"{name}: a clip says its own size and time stamps; leave --size and --fps out.")
    clip = read_clip(Path(name))
    if target is not None and target.exists() and os.path.samefile(name, target):
        raise InputError(f"{target} is the clip being read; choose another -o.")
    return ClipSource(clip), clip


def brighten(
    enhancer: Enhancer, source: Source, clip: Clip | None, target: Path | None, sampling: str, args: argparse.Namespace
) -> tuple[int, float]:
    """All frames of ``source`` into ``target``, or to stdout; their number, and the seconds from the first on."""
    from .sinks import PipeSink, file_sink
    from .sources import LiveSource

    camera = source if isinstance(source, LiveSource) else None
    progress = Progress()
    with ExitStack() as stack:
        if camera is not None:
            stack.enter_context(_ends_by_signal(camera))
        frames: Iterator[Frame] = source.frames()
        if args.frames is not None:
            frames = islice(frames, args.frames)
        if camera is None:  # whose newest frame is wanted when the engine is free, not one that waits
            frames = stack.enter_context(closing(ahead(frames, _AHEAD, source.close)))
        first = next(frames, None)
        if first is None:
            raise InputError(f"{args.input}: there is no frame in it; give a clip that ffmpeg can play.")
        started = time.perf_counter()
        sink: Any = PipeSink(sys.stdout.buffer)
        if target is not None:
            size, rate = (source.width, source.height), source.frame_rate
            options = {"first_ns": first.time_ns, "encoder": args.encoder, "overwrite": args.overwrite}
            sink = stack.enter_context(file_sink(target, clip, size, rate, **options))
        behind = stack.enter_context(Behind(_AHEAD))
        times: deque[int] = deque()

        def pixels() -> Iterator[Any]:
            for frame in chain((first,), frames):
                times.append(frame.time_ns)
                yield frame.pixels

        total = min(source.total or 0, args.frames or source.total or 0) or (args.frames or 0)
        shown = progress.count(total, "frame") if total else progress.task("brightening")
        begin: Any = stack.enter_context(shown)
        count = 0
        for bright in enhancer.stream(pixels(), sampling=sampling, seed=args.seed):
            if total:
                begin(f"frame {count}")
            behind.submit(sink.write, bright, times.popleft())
            count += 1
            if enhancer.why and count == 1:
                progress.note(enhancer.why)
    return count, time.perf_counter() - started


@contextmanager
def _ends_by_signal(camera: LiveSource) -> Iterator[None]:
    """Inside, Ctrl-C, SIGTERM and a closed terminal end the camera, and what came is kept; a second one interrupts."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

    def stop(number: int, frame: object) -> None:
        camera.stop()
        signal.signal(number, signal.default_int_handler)

    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
