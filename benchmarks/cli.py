"""``python -m benchmarks``: speed, memory and fidelity of packages, in turns, into a file of JSON Lines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runtime.cli.command import Parser, check_no_folder, photo_size
from runtime.errors import InputError
from runtime.names import BACKENDS, FAST, PUBLISHED, SAMPLERS

BASELINES = ("pytorch", "naive-onnx")
SUITES = ("gpu",)
_ROUNDS, _QUICK_ROUNDS = 10, 3


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks",
        description="Time packages in turns (A B A B), with memory and fidelity, one JSON record a configuration. A "
        "second call with the same options resumes.",
        examples=(
            "%(prog)s build/diffll-fp32 build/diffll-int8 --size 600x400 1280x720 -o results.jsonl",
            "%(prog)s build/diffll-fp32 --quick",
        ),
    )
    parser.add_argument("packages", nargs="*", type=Path, metavar="PACKAGE")
    parser.add_argument("-o", dest="output", type=Path, default=Path("results.jsonl"), metavar="FILE",
                        help="default: results.jsonl")  # fmt: skip
    parser.add_argument("--size", nargs="+", action="extend", default=[], metavar="WxH",
                        help="default: 600x400, 1280x720, 1920x1080, 2560x1440, 3840x2160")  # fmt: skip
    parser.add_argument("--backend", nargs="+", action="extend", default=[], metavar="NAME",
                        help=f"NAME or NAME:PROVIDER; {', '.join(BACKENDS)} (default: onnxruntime)")  # fmt: skip
    parser.add_argument("--steps", nargs="+", action="extend", type=int, default=[], metavar="N",
                        help="evenly spaced, from noise (default: the sampling published, 10 steps)")  # fmt: skip
    parser.add_argument("--sampler", choices=SAMPLERS, default="ddim", metavar="NAME",
                        help=f"of --steps: {', '.join(SAMPLERS)} (default: ddim)")  # fmt: skip
    parser.add_argument("--sampling", nargs="+", action="extend", default=[], metavar="NAME",
                        help=f"of the packages, such as {PUBLISHED} and {FAST} (default: {PUBLISHED})")  # fmt: skip
    parser.add_argument("--baseline", nargs="+", action="extend", choices=BASELINES, default=[],
                        help="PyTorch eager, autocast, torch.compile; plainly traced graphs")  # fmt: skip
    parser.add_argument("--baseline-sampling", nargs="+", action="extend", default=[], metavar="NAME",
                        help=f"what --baseline pytorch runs beside {PUBLISHED} and --steps")  # fmt: skip
    parser.add_argument("--checkpoint", nargs="+", action="extend", type=Path, default=[], metavar="FILE",
                        help="what a package was built from, for --baseline (default: the bundled one)")  # fmt: skip
    parser.add_argument("--photo", type=Path, metavar="PATH", help="a photo, or a folder of them (default: synthetic)")
    parser.add_argument("--reference", type=Path, metavar="PATH",
                        help="what --photo should become: scored where a photo's own size is measured")  # fmt: skip
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default: {_ROUNDS}; {_QUICK_ROUNDS} with --quick")
    parser.add_argument("--quick", action="store_true",
                        help="320x240 and 600x400, few rounds, no torch.compile: minutes on two cores")  # fmt: skip
    parser.add_argument(
        "--suite",
        choices=SUITES,
        help="gpu: build what is missing (of the bundled checkpoint without PACKAGE) and measure it in minutes",
    )
    args = parser.parse_args(argv)
    if not args.packages and not args.suite:
        parser.error("no PACKAGE was given")
    if args.rounds is None:
        args.rounds = _QUICK_ROUNDS if args.quick else _ROUNDS
    if args.rounds < 1:
        parser.error("--rounds is a number from 1 up")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    check_no_folder(args.output)
    suite, limit_s, instead = args.suite, None, None
    if suite:
        from .suites import GPU_INSTEAD, GPU_LIMIT_S, gpu_arguments

        args = parse_args(gpu_arguments(args.packages, args.output))
        limit_s, instead = GPU_LIMIT_S, GPU_INSTEAD

    from .baselines import baseline_configs
    from .configs import QUICK_SIZES, STANDARD_SIZES, open_packages, package_configs
    from .loops import Loops
    from .photos import Photos

    sizes = [photo_size(size) for size in args.size or (QUICK_SIZES if args.quick else STANDARD_SIZES)]
    packages = open_packages(args.packages)
    photos = Photos.find(args.photo, args.reference)
    photos.check()
    backends = args.backend or ["onnxruntime"]
    if args.baseline_sampling and "pytorch" not in args.baseline:
        raise InputError("--baseline-sampling is for --baseline pytorch, which was not given; leave it out.")
    loops = Loops(args.steps, args.sampling, args.sampler, instead)
    # What every ratio is formed with runs wherever a sampling does.
    compared = [PUBLISHED] if args.sampling or args.baseline_sampling or not args.steps else []
    others = replace(loops, samplings=(*compared, *args.baseline_sampling))
    configs = [
        *package_configs(packages, sizes, backends, loops),
        *baseline_configs(args.baseline, packages, sizes, others, args.checkpoint, quick=args.quick),
    ]
    if suite:
        from .suites import takes

        configs = [config for config in configs if takes(config)]
    if args.checkpoint and not args.baseline:
        raise InputError("--checkpoint is for --baseline, which was not given; leave it out.")

    from .run import run

    return run(args.output, configs, photos, args.rounds, limit_s)
