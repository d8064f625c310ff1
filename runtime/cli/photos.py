"""``python -m runtime`` (installed on a device: ``python -m diffll``): photos in, photos out."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..names import SAMPLERS
from .command import SOME_FAILED, Parser, add_run_options, printable, program
from .inputs import PIPE, Item, Naming, Work, check_free, plan_work

if TYPE_CHECKING:
    from ..photo.journal import Journal
    from .batch import Settings, Summary

_EXAMPLES = (
    "%(prog)s build/diffll-fp32 dark.jpg -o bright.jpg",
    "%(prog)s build/diffll-fp32 photos --recursive -o bright --skip-existing",
    "%(prog)s build/diffll-fp32 *.jpg -o bright --suffix _bright --format png",
    "cat dark.jpg | %(prog)s build/diffll-fp32 - -o - > bright.jpg",
)
_FORMATS = {
    **{"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "tif": "TIFF", "tiff": "TIFF", "webp": "WEBP", "bmp": "BMP"},
    **{"heic": "HEIC", "avif": "AVIF"},
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    what = "Brighten dark photos with a DiffLL model package."
    if program().startswith("diffll"):
        what += " `diffll video`, `diffll plan` and `diffll doctor` are the other commands."
    parser = Parser(prog=program(), description=what, examples=_EXAMPLES)
    add = parser.add_argument
    add("package", metavar="PACKAGE", help="a package directory made by `python -m export.build`")
    photo = "a photo (JPEG, PNG, TIFF, WebP, BMP, AVIF, HEIC, camera raw), a folder, or - for stdin"
    add("photos", nargs="*", metavar="INPUT", help=photo)
    output = "a file for one photo (its suffix says the format), a folder for several (names are kept), - for stdout"
    add("-o", dest="output", metavar="OUT", help=output)
    add("--recursive", action="store_true", help="the folders in a folder too; OUT has the same tree")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace results that are already there")
    skip = "leave results that are there and go on; those of changed photos or other settings are made again"
    there.add_argument("--skip-existing", action="store_true", help=skip)
    there.add_argument("--in-place", action="store_true", help="replace each photo by its result, without -o")
    add("--suffix", default="", metavar="TEXT", help="stands behind each name in a folder, such as _bright")
    add(
        "--format",
        choices=_FORMATS,
        metavar="NAME",
        help=f"of the results: {', '.join(_FORMATS)} (default: as the photo)",
    )
    add("--quality", type=int, metavar="N", help="of JPEG, WebP, HEIC and AVIF, 1 to 100 (default: 95)")
    add(
        "--strength",
        type=float,
        default=1.0,
        metavar="X",
        help="0 (the dark photo) to 1 (the result, default): a blend",
    )
    add_run_options(parser)
    add("--sampler", choices=SAMPLERS, metavar="NAME", help=f"of --steps: {', '.join(SAMPLERS)} (default: ddim)")
    add("--seed", type=int, metavar="N", help="of the noise, where the sampling starts from noise (default: 0)")
    add("--before-after", action="store_true", help="write the dark and the bright photo side by side")
    add("--json", action="store_true", help="a line of JSON for every photo, on stdout")
    add("--self-test", action="store_true", help="run the package's golden sample on this machine")
    args = parser.parse_args(argv)
    _check(parser, args)
    return args


def _check(parser: Parser, args: argparse.Namespace) -> None:
    if not args.photos and not args.self_test:
        parser.error("no INPUT was given: a photo, a folder or -")
    if args.photos and args.output is None and not args.in_place:
        parser.error("-o OUT is missing: a file for one photo, a folder for several")
    if args.in_place and args.output is not None:
        parser.error("--in-place replaces the photos, so there is no -o; leave one of the two out")
    if args.in_place and (args.suffix or args.format or args.before_after):
        parser.error("--in-place keeps names and formats; leave --suffix, --format and --before-after out")
    if not 0 <= args.strength <= 1:
        parser.error(f"--strength {args.strength:g}: a number from 0 to 1 is wanted")
    if args.quality is not None and not 1 <= args.quality <= 100:
        parser.error(f"--quality {args.quality}: 1 to 100 is wanted")
    if any(mark in args.suffix for mark in ("/", "\\", "\0")):
        parser.error(f"--suffix {args.suffix}: a part of a name is wanted, such as _bright")
    if PIPE in args.photos and len(args.photos) > 1:
        parser.error("- is one photo on stdin; give it alone")
    if args.output == PIPE and (args.json or args.self_test):
        parser.error("-o - writes the photo to stdout; leave --json and --self-test out")


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    work = work_of(args) if args.photos else Work(())

    from ..enhancer import Enhancer
    from ..photo import check_destination
    from ..running.arguments import check_no_noise, choose_sampling

    if work.folder is None and len(work.items) == 1 and not args.in_place:  # told before the package is loaded
        item = work.items[0]
        if str(item.source) != PIPE:
            try:
                item.source.stat()
            except OSError as error:
                raise InputError(f"cannot read {item.source}: {error.strerror}; check the name.") from error
        if str(item.target) != PIPE and not (args.skip_existing and item.target.exists()):
            check_destination(item.target, source=item.source, overwrite=args.overwrite)
    opened = Enhancer.open(args.package, backend=args.backend, providers=args.provider, max_memory=args.max_memory)
    with opened as enhancer:
        if enhancer.backend.why:
            print(enhancer.backend.why, file=sys.stderr)
        if args.self_test:
            worst = enhancer.self_test()
            print(f"self-test passed: at most {worst} grey level(s) from the golden sample ({enhancer.backend.name})")
        # a mistake is told before the first photo
        sampling = choose_sampling(enhancer.manifest, args.sampling, args.steps, args.sampler)
        if sampling.start == "zero":
            check_no_noise(sampling, None, args.seed)
        return _run(enhancer, work, args) if work.items else 0


def work_of(args: argparse.Namespace) -> Work:
    """The photos and their places. Raises InputError."""
    kind = f".{args.format}" if args.format else ""
    if args.photos == [PIPE]:
        target = Path(args.output or PIPE)
        if args.in_place or target.is_dir():
            raise InputError("a photo on stdin has no name; give -o a file, or - for stdout.")
        return Work((Item(Path(PIPE), target, target.parent),))
    if args.output == PIPE:
        if len(args.photos) > 1 or os.path.isdir(args.photos[0]):
            raise InputError("stdout takes one photo; give a folder with -o for more.")
        if sys.stdout.isatty():
            raise InputError("-o - writes the photo to stdout, which is a terminal; give a file, or pipe it on.")
        work = plan_work(args.photos, args.output, Naming())
        return Work((Item(work.items[0].source, Path(PIPE), Path()),))
    work = plan_work(
        args.photos, args.output, Naming(args.suffix, kind), recursive=args.recursive, in_place=args.in_place
    )
    if work.folder is not None and not args.overwrite and not args.skip_existing:
        check_free(work.items)
    return work


def _run(enhancer: Any, work: Work, args: argparse.Namespace) -> int:
    from .batch import Batch

    settings = settings_of(args)
    started = time.perf_counter()
    with _journals(enhancer, work, args, settings) as journals:
        batch = Batch(enhancer, settings, journals, folders=work.folder is not None or args.in_place)
        try:
            batch.run(work.items)
        except KeyboardInterrupt:
            if len(work.items) > 1:
                _tell(batch.summary, work, time.perf_counter() - started)
                how = "The same command" if args.skip_existing else "The same command with --skip-existing"
                if args.overwrite:
                    how += " in place of --overwrite"
                print(f"{how} goes on from here.", file=sys.stderr)
            raise
    _tell(batch.summary, work, time.perf_counter() - started)
    return SOME_FAILED if batch.summary.failed else 0


def settings_of(args: argparse.Namespace) -> Settings:
    from .batch import Settings

    return Settings(
        sampling=args.sampling,
        steps=args.steps,
        sampler=args.sampler,
        seed=args.seed,
        plan=args.plan,
        before_after=args.before_after,
        strength=args.strength,
        quality=args.quality,
        kind=_FORMATS[args.format] if args.format else None,
        overwrite=args.overwrite or args.in_place,
        skip_existing=args.skip_existing or args.in_place,
        json=args.json,
        beside=args.max_memory is None,
    )


@contextmanager
def _journals(enhancer: Any, work: Work, args: argparse.Namespace, settings: Settings) -> Iterator[dict[Path, Journal]]:
    """A journal for each root of the results; none where one file is written."""
    from ..photo.journal import Journal, settings_digest

    many = work.folder is not None and (len(work.items) > 1 or args.skip_existing)
    roots = {item.root for item in work.items} if many or args.in_place else set()
    files = {name: digest for name, (digest, _) in enhancer.manifest.files.items() if name.endswith(".onnx")}
    made = {**settings.loop, "files": files, "plan": args.plan, "before_after": args.before_after}
    made |= {"strength": args.strength, "quality": args.quality, "format": args.format}
    journals = {root: Journal(root, settings_digest(made)) for root in roots}
    try:
        yield journals
    finally:
        for journal in journals.values():
            journal.close()


def _tell(summary: Summary, work: Work, seconds: float) -> None:
    """The last word of a command: what was done, and where it is."""
    if len(work.items) == 1 and not summary.failed:
        item = work.items[0]
        what = f"{item.target}: there already" if summary.skipped else f"{item.target}: done in {seconds:.1f} s"
        if str(item.target) != PIPE:
            print(printable(what), file=sys.stderr)
        return
    counts = [f"{summary.done} of {len(work.items)} photos done"]
    if summary.skipped:
        counts.append(f"{summary.skipped} skipped, for their results are there")
    if summary.failed:
        counts.append(f"{len(summary.failed)} failed")
    if work.others:
        counts.append(f"{work.others} other files left")
    pace = f" ({summary.done / seconds:.2f} a second)" if summary.done and seconds else ""
    where = f", in {work.folder}" if work.folder is not None else ", in place"
    print(printable(f"{', '.join(counts)} in {seconds:.1f} s{pace}{where}"), file=sys.stderr)
    if summary.failed:
        print("failed:", *(printable(str(path)) for path in summary.failed), sep="\n  ", file=sys.stderr)
