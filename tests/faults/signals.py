"""Kill a command at each of its system calls that change a folder, and look at what is there.

    python tests/faults/signals.py PACKAGE [PHOTO]

Needs strace. The command is killed (SIGKILL, injected by strace) at its first, second, ... rename, link, unlink, mkdir,
rmdir and fsync of the output's folder. After each: the old or the new result is there and whole, the next run succeeds,
and nothing else is left. Two commands: ``python -m runtime`` with a new and with a replaced photo, and the writing of a
package over another one. Exit code 1 where something did not hold.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from whole import other_package, package_is, photo_is_whole

ROOT = Path(__file__).parent.parent.parent
CALLS = "rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync"
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")


def run(command: list[str], *strace: str) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    words = ["strace", "-f", "-y", "-qq", "-e", f"trace={CALLS}", *strace, *command] if strace else command
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode


def calls_in(command: list[str], folder: Path) -> list[tuple[str, int]]:
    """(system call, its number among the process's calls of that name) of all that touch the folder."""
    log = folder.parent / "strace.log"
    if run(command, "-o", str(log)):
        raise SystemExit(f"{command} fails without any fault")
    counted: dict[str, int] = {}
    found = []
    for line in log.read_text().splitlines():
        match = _CALL.match(line)
        if match:
            name = match[1]
            counted[name] = counted.get(name, 0) + 1
            if str(folder) in match[2]:
                found.append((name, counted[name]))
    return found


def every_kill(
    title: str, folder: Path, command: list[str], prepare: Callable[[], None], judge: Callable[[], str], left: set[str]
) -> int:
    """Kill ``command`` at each call; the number of calls where something did not hold. judge: what is wrong with the
    results now, or nothing. left: the names in the folder after the next run."""

    def ready() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        prepare()

    ready()
    calls, bad, killed = calls_in(command, folder), 0, 0
    for name, number in calls:
        ready()
        code = run(command, "-o", "/dev/null", "-e", f"inject={name}:signal=SIGKILL:when={number}")
        killed += code in (-9, 137)
        wrong = [judge()]
        code = run(command)
        wrong += [f"the next run ends with {code}" if code else "", judge()]
        there = set(os.listdir(folder))
        wrong += [f"left: {sorted(there - left)}"] if there != left else []
        if any(wrong):
            bad += 1
            print(f"  {name} {number}: {'; '.join(filter(None, wrong))}")
    print(f"{title}: killed at {killed} of {len(calls)} calls, {bad} left something wrong", flush=True)
    return bad + (killed < len(calls))


def main() -> int:
    package = Path(sys.argv[1]).absolute()
    photo = Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "assets/sample.png").absolute()
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        folder, small = Path(place, "out"), Path(place, "small.png")
        from PIL import Image

        with Image.open(photo) as image:
            image.convert("RGB").resize((48, 32)).save(small)
        words = [
            sys.executable,
            "-m",
            "runtime",
            str(package),
            str(small),
            "-o",
            f"{folder}/",
            "--overwrite",
            "--steps",
        ]
        result = folder / small.name

        def photo_judged() -> str:
            return "" if not result.exists() or photo_is_whole(result) else "the photo is not whole"

        def old_photo() -> None:
            shutil.copy(small, result)

        def replaced_judged() -> str:
            return "" if photo_is_whole(result) else "neither the old nor the new photo"

        bad += every_kill("a new photo", folder, [*words, "1"], lambda: None, photo_judged, {small.name})
        bad += every_kill("a replaced photo", folder, [*words, "1"], old_photo, replaced_judged, {small.name})

        source, old = other_package(package, Path(place, "new")), Path(place, "old")
        shutil.copytree(package, old, ignore=shutil.ignore_patterns("engines"))
        identities = {package_is(old), package_is(source)}
        words = [sys.executable, str(ROOT / "tests/faults/replace_package.py"), str(source), str(folder / "package")]

        def old_package() -> None:
            shutil.copytree(old, folder / "package")

        def package_judged() -> str:
            return "" if package_is(folder / "package") in identities else "neither the old nor the new package"

        bad += every_kill("a replaced package", folder, words, old_package, package_judged, {"package"})
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
