"""``python -m serving.cluster``: a folder of photos, on this machine or on a Ray cluster."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from runtime.cli.command import SOME_FAILED, Parser, printable
from runtime.names import BACKENDS, PUBLISHED

_EXAMPLES = (
    "%(prog)s build/diffll-fp32 photos -o bright                           # Ray is started here",
    "%(prog)s build/diffll-fp32 /mnt/photos -o /mnt/bright --address auto  # the cluster of this machine",
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m serving.cluster",
        description="Brighten a folder of photos on many machines. Run again, it does what is missing.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add("package", metavar="PACKAGE", help="a package directory made by `python -m export.build`")
    add("folder", metavar="FOLDER", help="photos, and folders of photos; every machine sees it under this name")
    add("-o", dest="output", required=True, metavar="FOLDER", help="of the results, whose tree is the same; as above")
    add("--address", metavar="ADDRESS", help="of a Ray cluster, or auto (default: Ray is started on this machine)")
    add("--actors", type=int, metavar="N", help="engines at a time, each with all cores (default: one a machine)")
    add("--backend", choices=BACKENDS, default="onnxruntime", metavar="NAME", help=", ".join(BACKENDS))
    add("--sampling", default=PUBLISHED, metavar="NAME", help="one that the package has (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.actors is not None and args.actors < 1:
        parser.error(f"--actors {args.actors}: 1 or more is wanted")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from .run import Job, run

    done = run(Job(args.package, args.folder, args.output, args.backend, args.sampling, args.address, args.actors))
    skipped = f", {done.skipped} skipped, for their results are there" if done.skipped else ""
    failed = f", {len(done.failed)} failed" if done.failed else ""
    print(printable(f"{done.done} of {done.total} photos done{skipped}{failed}, in {args.output}"), file=sys.stderr)
    for name, error in sorted(done.failed.items()):
        print(printable(f"  {name}: {error}"), file=sys.stderr)
    return SOME_FAILED if done.failed else 0
