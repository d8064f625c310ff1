"""Cut the power while a command writes and right after it ended, and look at what the disk holds.

    sudo python tests/faults/power.py PACKAGE [--no-sync]

The disk is an ext4 image on a loop device: what has reached the image is what the disk holds, so a copy of the image
is the disk after a cut. It is mounted (which replays the journal, as a start does) and read. Every photo that has its
final name has to be whole; of a package that is replaced the old or the new one has to be there, whole; and what a
command wrote that has ended has to be there. --no-sync: the same with an os.fsync that does nothing, to see it fail.
Needs root and loop devices. Exit code 1 where something did not hold.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from whole import other_package, package_is, photo_is_whole

ROOT = Path(__file__).parent.parent.parent
PHOTOS = 10
NO_SYNC = "import os, runpy, sys; os.fsync = lambda fd: None; del sys.argv[0]; "


def shell(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp())
    # no commit of the journal but those that are asked for: a copy takes less than that long, so it is of one moment
    shell("mount", "-o", "loop,commit=300", image, place)
    try:
        yield place
    finally:
        shell("umount", place)
        place.rmdir()


def cuts(command: list[str], image: Path, copies: Path) -> list[Path]:
    """Copies of the disk while ``command`` runs, and the last of when it has ended."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    found: list[Path] = []
    pause = 0.03

    def copy() -> None:
        found.append(copies / f"{len(found)}.img")
        shell("cp", "--sparse=always", image, found[-1])

    while process.poll() is None:
        time.sleep(pause)
        process.send_signal(signal.SIGSTOP)
        if len(found) < 60:
            copy()
        process.send_signal(signal.SIGCONT)
        pause *= 1.05
    if process.returncode:
        raise SystemExit(f"{command} fails without any fault")
    copy()
    return found


def main() -> int:
    package, no_sync = Path(sys.argv[1]).absolute(), "--no-sync" in sys.argv
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for sub in ("photos", "copies"):
            (place / sub).mkdir()
        for number in range(PHOTOS):
            with Image.open(ROOT / "assets/sample.png") as image:
                image.convert("RGB").rotate(36 * number).resize((160, 96)).save(place / f"photos/{number}.png")
        new, disk = other_package(package, place / "new"), place / "disk.img"
        shell("truncate", "-s", "64M", disk)
        shell("mkfs.ext4", "-q", disk)
        with mounted(disk) as mount:
            shutil.copytree(package, mount / "package", ignore=shutil.ignore_patterns("engines"))
        photos = [str(path) for path in sorted((place / "photos").iterdir())]
        identities = {package_is(package), package_is(new)}

        def judged(cut: Path, ended: bool) -> tuple[list[str], list[str]]:
            """(photos with their final name that are not whole or, once it ended, not there; what is wrong with the
            package)."""
            with mounted(cut) as mount:
                there = {path.name for path in (mount / "out").glob("[!.]*")} if (mount / "out").is_dir() else set()
                wanted = {Path(photo).name for photo in photos} if ended else there
                lost = [one for one in sorted(wanted) if not photo_is_whole(mount / "out" / one)]
                return lost, [] if package_is(mount / "package") in identities else ["package"]

        def words(mount: Path) -> Iterator[tuple[str, list[str]]]:
            start = [
                sys.executable,
                "-c",
                NO_SYNC + "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)",
            ]
            start = [*start, "runtime"] if no_sync else [sys.executable, "-m", "runtime"]
            yield "photos", [*start, str(package), *photos, "-o", f"{mount}/out", "--steps", "1"]
            script = str(ROOT / "tests/faults/replace_package.py")
            start = [sys.executable, "-c", NO_SYNC + "runpy.run_path(sys.argv[0], run_name='__main__')", script]
            yield "package", [*(start if no_sync else [sys.executable, script]), str(new), f"{mount}/package"]

        with mounted(disk) as mount:
            ended = False
            for title, command in words(mount):
                found = cuts(command, disk, place / "copies")
                wrong = 0
                for number, cut in enumerate(found):
                    lost, broken = judged(cut, ended or number == len(found) - 1)
                    wrong += bool(lost or broken)
                    if lost or broken:
                        print(f"  cut {number + 1}: not whole: {' '.join(lost + broken)}")
                    cut.unlink()
                print(f"{title}: {len(found)} cuts, {wrong} lost something", flush=True)
                bad, ended = bad + wrong, True
        with mounted(disk) as mount:
            print(f"package in the end: {'the new one' if package_is(mount / 'package') == package_is(new) else '?'}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
