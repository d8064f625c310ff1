"""``replace_package.py SOURCE OUTPUT``: put the package SOURCE in the place OUTPUT as commands that build do."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from runtime.cli.command import run_command
from runtime.package.writing import package_folder


def main(_: object = None) -> int:
    source, output = map(Path, sys.argv[1:])
    with package_folder(output, True) as work:
        for path in source.iterdir():
            if path.is_file():
                shutil.copyfile(path, work / path.name)
    return 0


if __name__ == "__main__":
    run_command(main)
