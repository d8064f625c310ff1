"""``python -m runtime``, installed on a device ``python -m diffll``, and ``diffll``: photos, or by their first word the
other commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from .cli.command import run_command

COMMANDS = ("video", "plan", "doctor")


def main(argv: Sequence[str]) -> int:
    """A photo or a package of such a name is written as a path: ``./video``."""
    word, rest = (argv[0], argv[1:]) if argv and argv[0] in COMMANDS else ("", argv)
    if word == "video":
        from .cli.video.command import main as command
    elif word == "plan":
        from .cli.plan import main as command
    elif word == "doctor":
        from .doctor.__main__ import main as command
    else:
        from .cli.photos import main as command
    return command(rest)


def run() -> NoReturn:
    """The console script ``diffll``."""
    run_command(lambda _: main(sys.argv[1:]))


if __name__ == "__main__":
    run()
