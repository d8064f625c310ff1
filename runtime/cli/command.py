"""What every command shares: the one ``error:`` line, the exit codes, and how a photo's size is written."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import DiffLLError, InputError
from ..names import BACKENDS, KINDS, __version__
from .interrupts import Interrupts, exit_code
from .streams import drop_stdout, open_standard_streams

SOME_FAILED = 1
USER_ERROR = 2
INTERRUPTED = "interrupted; nothing half-written is left behind."
ROOT = __package__.partition(".")[0]  # `runtime` in a checkout, `diffll` on a device
_SIDE_LIMIT = 1 << 16
_EXTRAS = {
    "runtime": "onnxruntime",
    "export": "export",
    "calibration": "calibration",
    "training": "export",
    "serving": "serving",
    "benchmarks": "benchmarks",
}
"""Top-level package of a checkout -> the extra that its commands need."""


_EXAMPLES = "examples:"


class _Help(argparse.HelpFormatter):
    """Keeps the lines of examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_EXAMPLES) else super()._fill_text(text, width, indent)


def program(command: str = "") -> str:
    """How a command of the runtime was called here: ``diffll video``, or ``python -m runtime.video``."""
    if Path(sys.argv[0]).stem == "diffll":
        return f"diffll {command}".rstrip()
    return f"python -m {ROOT}" + (f".{command}" if command else "")


class Parser(argparse.ArgumentParser):
    """argparse that answers a mistake with one ``error:`` line, without the usage in front, has ``--version``, and
    takes options between positional arguments. examples: lines under the help, in which %(prog)s is the command."""

    def __init__(self, *, prog: str, description: str, examples: Sequence[str]) -> None:
        epilog = "\n  ".join((_EXAMPLES, *examples))
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=_Help)
        self.add_argument("--version", action="version", version=f"%(prog)s {__version__}")

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # type: ignore[override]
        parsed: argparse.Namespace = self.parse_intermixed_args(args, namespace)
        return parsed

    def error(self, message: str) -> NoReturn:
        fail(f"{message} (see `{self.prog} --help`)")
        raise SystemExit(USER_ERROR)


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """What runs the network, and within how much memory: of photos, plans and video."""
    add = parser.add_argument
    backends = f"{', '.join(BACKENDS)} (default: %(default)s)"
    add("--backend", choices=BACKENDS, default="onnxruntime", metavar="NAME", help=backends)
    provider = "onnxruntime's execution provider, OpenVINO's device, or vulkan for ncnn (default: CPU)"
    add("--provider", action="append", metavar="NAME", help=provider)
    memory = "the whole process stays under it, such as 2GiB or 512MiB (default: what is free, less a margin)"
    add("--max-memory", metavar="SIZE", help=memory)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """How a photo is run: what ``python -m runtime`` does and ``python -m runtime.plan`` tells beforehand."""
    add_engine_options(parser)
    add = parser.add_argument
    sampling = "one that the package has: published (default), or fast, with few calls of the denoiser"
    add("--sampling", metavar="NAME", help=sampling)
    steps = "so many calls, evenly spaced, in place of a sampling: a divisor of 200; dpmpp-2m: 1 to 200"
    add("--steps", type=int, metavar="N", help=steps)
    plan = "whole, strips (the same picture) or tiles (not the same); default: as memory asks for"
    add("--plan", choices=KINDS, metavar="NAME", help=plan)


def fail(message: object) -> None:
    """Print the one ``error:`` line."""
    print(error_line(message), file=sys.stderr, flush=True)


def error_line(message: object) -> str:
    return printable(f"error: {' '.join(str(message).split())}")


def printable(text: str) -> str:
    """Without control characters: names of files, and what others have written into them, reach the terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)


def run_command(command: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command's ``main`` and exit: 0, its own code, 2 for a user's mistake or a stdout that takes nothing, and
    128 and the signal's number when interrupted: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP (a closed terminal).

    All three end it in the same way, so that half-written files are cleaned up by the ``finally`` clauses.
    """
    open_standard_streams()
    with Interrupts() as interrupts:
        try:
            try:
                code: object = command(argv)
            except SystemExit as end:  # --help
                code = end.code
            sys.stdout.flush()
        except DiffLLError as error:
            fail(error)
            code = USER_ERROR
        except ModuleNotFoundError as error:
            fail(missing(error))
            code = USER_ERROR
        except BrokenPipeError:  # `... | head`
            drop_stdout()
            code = SOME_FAILED
        except OSError as error:  # stdout's, or one that nobody nearer to it knew a cure for
            where = "standard output, or a file" if error.filename is None else error.filename
            fail(f"{where}: {error.strerror or error}; make room on its disk, or choose another place.")
            drop_stdout()
            code = USER_ERROR
        except KeyboardInterrupt as stop:
            interrupts.end()
            code = exit_code(stop)
            fail(INTERRUPTED)
    raise SystemExit(code)


def missing(error: ModuleNotFoundError) -> str:
    """What to install for the command that runs and has not found a library. Raises ``error`` for a module of ours."""
    library = (error.name or "").partition(".")[0]
    if library in ("", ROOT, *_EXTRAS):
        raise error
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # of `python -m`
    extra = _EXTRAS.get(spec.name.partition(".")[0], "onnxruntime") if spec else "onnxruntime"
    wanted = "'diffll-runtime[onnxruntime]'" if ROOT == "diffll" else f"'.[{extra}]' -c constraints.txt"
    return (
        f"{library} is not installed for {sys.executable}; run the command with the Python that has it, or install "
        f"what it needs: `{sys.executable} -m pip install {wanted}`."
    )


def check_no_folder(output: Path) -> None:
    """Refuse, before any work and before anything stands beside it, a folder in the place of a file. Raises
    InputError."""
    if output.is_dir():
        raise InputError(f"-o {output}: a folder; give a file's name in it.")


def photo_size(text: str) -> tuple[int, int]:
    """``WxH`` -> (width, height) in pixels. Raises InputError."""
    match = re.fullmatch(r"(-?[0-9]{1,9})[xX](-?[0-9]{1,9})", text.strip())
    if not match:
        raise InputError(f"size {text!r} is not WxH; write the photo's width and height, such as 1920x1080.")
    width, height = int(match[1]), int(match[2])
    if width < 1 or height < 1:
        raise InputError(f"size {text} is smaller than 1x1; write the photo's width and height in pixels.")
    if width > _SIDE_LIMIT or height > _SIDE_LIMIT:
        raise InputError(f"size {text} has a side over {_SIDE_LIMIT} pixels; photos of that size are not supported.")
    return width, height
