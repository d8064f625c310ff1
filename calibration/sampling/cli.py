"""``python -m calibration.sampling``: photos and a package -> the package with a calibrated sampling ``fast``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from runtime.cli.alone import only_run
from runtime.cli.command import SOME_FAILED, Parser
from runtime.cli.streams import tell
from runtime.package.writing import check_output

from ..names import DEFAULT_CALLS, DEFAULT_LOSS_DB, DEFAULT_LOSS_SSIM

_MOST_CALLS = 10


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m calibration.sampling",
        description="Find a sampling `fast`, with few calls of the denoiser, for the network of a package: search its "
        "timesteps and its start on some of the photos, judge it on the others, and write the package that has it.",
        examples=(
            "%(prog)s build/mine photos/*.jpg -o build/mine-fast",
            "%(prog)s build/mine low/*.png --references high -o build/mine-fast",
        ),
    )
    add = parser.add_argument
    add("package", metavar="PACKAGE", help="a package of any precision")
    add("photos", nargs="*", type=Path, metavar="PHOTO", help="dark photos like those to be enhanced; 10 or more")
    bright = (
        "how the photos should come out: a folder with files of the same names (default: as `published` makes them)"
    )
    add("--references", type=Path, metavar="DIR", help=bright)
    calls = f"calls of the denoiser, at most (default: {DEFAULT_CALLS})"
    add("--calls", type=int, default=DEFAULT_CALLS, metavar="N", help=calls)
    loss = "what `fast` may lose in PSNR on the judging photos (default: %(default)s)"
    add("--budget-db", type=float, default=DEFAULT_LOSS_DB, metavar="X", help=loss)
    add("--budget-ssim", type=float, default=DEFAULT_LOSS_SSIM, metavar="X", help="the same in SSIM (%(default)s)")
    add("-o", dest="output", type=Path, required=True, metavar="DIR", help="the package with `fast`")
    add("--overwrite", action="store_true", help="replace the package that is in DIR")
    args = parser.parse_args(argv)
    if not args.photos:
        parser.error("no PHOTO was given: give dark photos like those to be enhanced")
    if not 1 <= args.calls <= _MOST_CALLS:
        parser.error(f"--calls is {args.calls}; 1 to {_MOST_CALLS} wanted")
    if not 0 <= args.budget_db <= 100:
        parser.error(f"--budget-db is {args.budget_db:g}; 0 to 100 wanted")
    if not 0 <= args.budget_ssim <= 1:
        parser.error(f"--budget-ssim is {args.budget_ssim:g}; 0 to 1 wanted")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    check_output(args.output, args.overwrite)

    from runtime.cli.command import fail
    from runtime.cli.progress import Progress
    from runtime.package.reading import Package

    package = Package.open(args.package)
    from .find import Options, find

    options = Options(args.references, args.calls, args.budget_db, args.budget_ssim)
    with only_run(args.output, "sampling"):
        found = find(package, args.photos, args.output, options, overwrite=args.overwrite, progress=Progress())
    tell(found.table)
    if found.refusal:
        fail(found.refusal)
        return SOME_FAILED
    tell(args.output)
    return 0
