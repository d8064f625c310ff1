"""``python -m runtime.plan``: how a photo of a size would be run here, and what it would cost."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import DiffLLError
from ..planning.memory import mebibytes, show_size
from .command import Parser, add_run_options, photo_size, program

if TYPE_CHECKING:
    from ..planning.request import Plan


def main(argv: Sequence[str] | None = None) -> int:
    what = "Say how a photo would be run within a memory budget, and what it would cost."
    parser = Parser(
        prog=program("plan"),
        description=what,
        examples=("%(prog)s build/diffll-fp32 4000x3000 --max-memory 2GiB",),
    )
    parser.add_argument("package", metavar="PACKAGE", help="a package directory made by `python -m export.build`")
    parser.add_argument("size", metavar="WxH", help="of the photo, in pixels")
    add_run_options(parser)
    args = parser.parse_args(argv)
    width, height = photo_size(args.size)

    from ..enhancer import Enhancer
    from ..running.speed import speeds

    opening = {"backend": args.backend, "providers": args.provider, "max_memory": args.max_memory}
    with Enhancer.open(args.package, **opening) as enhancer:
        plan = enhancer.plan(width, height, sampling=args.sampling, steps=args.steps, kind=args.plan)
        speed = {}
        try:
            speed = speeds(enhancer.backend, enhancer.package)
        except DiffLLError as error:  # engines of one size, say
            print(f"no time is predicted, because 512x512 pixels could not be measured here: {error}", file=sys.stderr)
        show(plan, speed)
    return 0


def show(plan: Plan, speed: dict[str, float]) -> None:
    """speed: FLOP a second, of the denoiser and of the rest, measured here; empty where that was not possible."""
    print(plan)
    print("| stage | runs | GFLOP a photo | memory while it runs (MiB) | seconds |")
    print("|---|---|---|---|---|")
    seconds = plan.stage_seconds(speed) if speed else {}
    for stage, flop in plan.stage_flop.items():
        runs = plan.steps if stage == "denoiser" else 1
        memory, took = mebibytes(plan.stage_bytes[stage]), f"{seconds[stage]:,.1f}" if seconds else "?"
        print(f"| {stage} | {runs} | {runs * flop / 1e9:,.1f} | {memory} | {took} |")
    print(f"peak memory of the process at most {show_size(plan.peak_bytes)}")
    if speed:
        print(
            f"about {sum(seconds.values()):,.1f} s, as 512x512 pixels were measured here "
            f"({speed['denoiser'] / 1e9:,.0f} GFLOP/s in the denoiser, {speed['rest'] / 1e9:,.0f} in the rest)"
        )
