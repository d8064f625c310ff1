"""``python -m serving``: a package behind HTTP."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from runtime.cli.command import Parser
from runtime.names import BACKENDS, PUBLISHED

_EXAMPLES = (
    "%(prog)s build/diffll-fp32                         # http://127.0.0.1:8000 has a page for a browser",
    "%(prog)s build/diffll-fp32 --sampling fast --port 9000",
    "curl --data-binary @dark.jpg 'http://127.0.0.1:8000/v1/enhance?sampling=fast' -o bright.jpg",
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m serving",
        description="Serve a DiffLL model package: photos over HTTP, the Open Inference Protocol, metrics and a page.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add("package", metavar="PACKAGE", help="a package directory made by `python -m export.build`")
    add("--host", default="127.0.0.1", help="the address to listen on; 0.0.0.0: all (default: %(default)s)")
    add("--port", type=int, default=8000, help="0: one that is free (default: %(default)s)")
    add("--backend", choices=BACKENDS, default="onnxruntime", metavar="NAME", help=", ".join(BACKENDS))
    provider = "onnxruntime's execution provider, OpenVINO's device, or vulkan for ncnn (default: CPU)"
    add("--provider", action="append", metavar="NAME", help=provider)
    add("--sampling", default=PUBLISHED, metavar="NAME", help="for requests that name none (default: %(default)s)")
    add("--max-memory", metavar="SIZE", help="the engine's process stays under it, such as 2GiB")
    queue = "requests at a time, one of them in the engine; more are answered with 429 (default: %(default)s)"
    add("--queue", type=int, default=32, metavar="N", help=queue)
    add("--max-body", default="64MiB", metavar="SIZE", help="of a request (default: %(default)s)")
    pixels = "of a photo, told by its header (default: %(default)g)"
    add("--max-megapixels", type=float, default=50.0, metavar="N", help=pixels)
    args = parser.parse_args(argv)
    if not 0 <= args.port < 1 << 16:
        parser.error(f"--port {args.port}: 0 to 65535 is wanted")
    if args.queue < 1:
        parser.error(f"--queue {args.queue}: 1 or more is wanted")
    if not 0 < args.max_megapixels <= 178:  # where Pillow ends
        parser.error(f"--max-megapixels {args.max_megapixels:g}: more than 0 and at most 178 is wanted")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from runtime.planning.memory import parse_size

    from .server import run
    from .settings import EngineSettings, Settings

    engine = EngineSettings(
        package=args.package,
        backend=args.backend,
        providers=tuple(args.provider) if args.provider else None,
        max_memory=args.max_memory,
        sampling=args.sampling,
        max_pixels=int(args.max_megapixels * 1e6),
    )
    return run(Settings(engine, args.host, args.port, args.queue, parse_size(args.max_body)))
