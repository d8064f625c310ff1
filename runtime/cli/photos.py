"""``python -m runtime`` (installed on a device: ``python -m diffll``): photos in, photos out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DiffLLError, InputError
from ..names import SAMPLERS
from .command import ROOT, SOME_FAILED, Parser, add_run_options, error_line
from .progress import Progress

if TYPE_CHECKING:
    from ..enhancer import Enhancer
    from ..planning.request import Plan


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog=f"python -m {ROOT}", description="Brighten dark photos with a DiffLL model package.")
    add = parser.add_argument
    add("package", metavar="PACKAGE", help="a package directory made by `python -m export.build`")
    add("photos", nargs="*", type=Path, metavar="PHOTO", help="JPEG, PNG, TIFF, WebP or BMP")
    output = "a file for one photo (its suffix says the format), a folder for several (names and formats are kept)"
    add("-o", dest="output", metavar="OUT", help=output)
    add_run_options(parser)
    provider = "onnxruntime's execution provider, OpenVINO's device, or vulkan for ncnn (default: CPU)"
    add("--provider", action="append", metavar="NAME", help=provider)
    add("--sampler", choices=SAMPLERS, metavar="NAME", help=f"of --steps: {', '.join(SAMPLERS)} (default: ddim)")
    add("--seed", type=int, metavar="N", help="of the noise, where the sampling starts from noise (default: 0)")
    add("--overwrite", action="store_true", help="replace photos that are already there")
    add("--before-after", action="store_true", help="write the dark and the bright photo side by side")
    add("--self-test", action="store_true", help="run the package's golden sample on this machine")
    args = parser.parse_args(argv)
    if not args.photos and not args.self_test:
        parser.error("no PHOTO was given")
    if args.photos and args.output is None:
        parser.error("-o OUT is missing: a file for one photo, a folder for several")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)

    from ..enhancer import Enhancer
    from ..photo import check_destination
    from ..running.arguments import check_no_noise, choose_sampling

    pairs = plan_outputs(args.photos, args.output) if args.photos else []
    if len(pairs) == 1:  # a mistake that ends the command is told before the package is loaded
        try:
            pairs[0][0].stat()
        except OSError as error:
            raise InputError(f"cannot read {pairs[0][0]}: {error.strerror}; check the name.") from error
        check_destination(pairs[0][1], source=pairs[0][0], overwrite=args.overwrite)
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
        return enhance_all(enhancer, pairs, args)


def plan_outputs(photos: Sequence[Path], output: str) -> list[tuple[Path, Path]]:
    """(photo, where its result goes) of every photo. Makes the output folder. Raises InputError."""
    from ..photo import SUFFIXES
    from ..photo.folder import output_folder

    target = Path(output)
    if len(photos) == 1 and not target.is_dir() and not output.endswith(("/", "\\")):
        return [(photos[0], target)]
    if target.suffix.lower() in SUFFIXES and not target.is_dir():
        raise InputError(f"{output}: {len(photos)} photos cannot go into one file; give a folder.")
    names: dict[str, Path] = {}
    for photo in photos:
        other = names.setdefault(photo.name.casefold(), photo)
        if other is not photo:
            raise InputError(f"{other} and {photo} would both become {target / photo.name}; use two folders.")
    try:
        output_folder(target)
    except OSError as error:
        raise InputError(f"{output}: cannot make this folder ({error.strerror}); choose another -o.") from error
    return [(photo, target / photo.name) for photo in photos]


def enhance_all(enhancer: Enhancer, pairs: Sequence[tuple[Path, Path]], args: argparse.Namespace) -> int:
    """Enhance every photo; one that cannot be done does not stop the others."""
    failed: list[Path] = []
    progress = Progress()
    with progress.warnings(), progress.count(len(pairs), "photo") as begin:
        for source, target in pairs:
            begin(source.name)
            try:
                enhance_file(enhancer, source, target, args, progress)
            except DiffLLError as error:
                if len(pairs) == 1:
                    raise
                progress.note(error_line(error))
                failed.append(source)
    if failed:
        print(f"{len(failed)} of {len(pairs)} photos failed:", *failed, sep="\n  ", file=sys.stderr)
    return SOME_FAILED if failed else 0


def enhance_file(enhancer: Enhancer, source: Path, target: Path, args: argparse.Namespace, progress: Progress) -> None:
    """Read, brighten and write one photo. Raises DiffLLError; nothing half-written is left."""
    import numpy as np

    from ..photo import check_destination, check_photo, read_photo, write_photo, written_to
    from ..planning.request import FILE_BYTES

    check_destination(target, source=source, overwrite=args.overwrite)

    def plan(width: int, height: int, depth: int) -> Plan:
        dtype = np.uint16 if depth == 16 else np.uint8
        reserve = FILE_BYTES * depth // 8 * width * height if args.before_after else 0  # the file's other half
        return enhancer.plan(
            width, height, sampling=args.sampling, steps=args.steps, dtype=dtype, kind=args.plan, reserve_bytes=reserve
        )

    photo = read_photo(source, check=plan, into=target)
    kind = written_to(target, photo.format)
    if args.before_after:
        check_photo(target, kind, photo, copies=2)
    height, width = photo.pixels.shape[:2]
    chosen = plan(width, height, 8 * photo.pixels.itemsize) if args.plan else None
    loop = {"sampling": args.sampling, "steps": args.steps, "sampler": args.sampler, "seed": args.seed}
    pixels = enhancer(photo.pixels, **loop, plan=chosen)
    if enhancer.why:
        progress.note(f"{source}: {enhancer.why}")
    bright = photo.with_pixels(pixels)
    if args.before_after:
        alpha = None if bright.alpha is None else np.hstack((bright.alpha, bright.alpha))
        bright = replace(bright, pixels=np.hstack((photo.pixels, bright.pixels)), alpha=alpha)
    del photo, pixels  # their memory is for what the file takes
    write_photo(target, bright, overwrite=args.overwrite, kind=kind)
