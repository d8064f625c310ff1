"""``python -m calibration``: photos and an fp32 package -> an int8 package."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime.cli.alone import only_run
from runtime.cli.command import Parser
from runtime.cli.streams import tell
from runtime.errors import InputError
from runtime.package.writing import check_output

from .names import DEFAULT_BUDGET_DB, DEFAULT_METHOD, DEFAULT_SAMPLES, METHODS


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m calibration",
        description="Make an int8 (Q/DQ) package from an fp32 one: run it on real photos, record the ranges, quantise "
        "the convolutions, and leave those in float that cost too much.",
        examples=("%(prog)s build/diffll-fp32 photos/*.jpg -o build/diffll-int8",),
    )
    parser.add_argument("package", metavar="PACKAGE", help="an fp32 package made by `python -m export.build`")
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO", help="dark photos like those to be enhanced")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="DIR", help="the int8 package")
    parser.add_argument(
        "--method", choices=METHODS, default=DEFAULT_METHOD, help=f"of choosing ranges (default: {DEFAULT_METHOD})"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=DEFAULT_SAMPLES,
        metavar="N",
        help=f"photos to calibrate on, at most (default: {DEFAULT_SAMPLES}); one photo in five is kept unseen",
    )
    parser.add_argument(
        "--budget-db",
        type=float,
        default=DEFAULT_BUDGET_DB,
        metavar="X",
        help=f"PSNR against fp32 of every unseen photo in every sampling, at least (default: {DEFAULT_BUDGET_DB:g})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the package that is in DIR")
    args = parser.parse_args(argv)
    if not args.photos:
        parser.error("no PHOTO was given: calibration needs photos like those to be enhanced")
    if not 0 < args.budget_db <= 150:
        parser.error(f"--budget-db is {args.budget_db:g}; 0 to 150 wanted")
    if args.samples < 1:
        parser.error(f"--samples is {args.samples}; at least 1 wanted")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    check_output(args.output, args.overwrite)

    from runtime.cli.progress import Progress
    from runtime.package.reading import Package

    package = Package.open(args.package)
    if package.manifest.precision != "fp32":
        raise InputError(
            f"{package.path}: a package in {package.manifest.precision}; calibration starts from the fp32 package of "
            "the same checkpoint (`python -m export.build`)."
        )
    from .calibrate import calibrate

    with only_run(args.output, "calibration"):
        calibrate(
            package,
            args.photos,
            args.output,
            method=args.method,
            samples=args.samples,
            budget_db=args.budget_db,
            overwrite=args.overwrite,
            progress=Progress(),
        )
    tell(args.output)
    return 0
