"""``python -m benchmarks.folders PACKAGE``: runs over a folder that are killed, and what reading and writing cost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from runtime.cli.command import SOME_FAILED, Parser, run_command
from runtime.errors import EngineError
from runtime.machine.leftovers import scratch_folder

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).parent.parent
STEPS = 2  # of the loop: what is killed is the writing of files
_LATER_S = 0.05  # a kill comes up to so long after a photo was done, at any moment of the next one
_START_S = 2.0  # or up to so long after the start
_LARGE = ((1224, 816), (1368, 912), (1500, 1000), (1728, 1152))  # 1.0 to 2.0 megapixels


def make_photos(folder: Path, count: int, kind: str = "png", size: tuple[int, int] = (12, 9)) -> list[Path]:
    """Dark noise of ``size``, width and height, in two folders."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    paths = [folder / f"{'even' if index % 2 else 'odd'}" / f"{index:03}.{kind}" for index in range(count)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return paths


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """File -> inode and time of change: what another writing of it changes. Also of files that are no result yet."""
    from runtime.photo.journal import NAME

    found = {str(path.relative_to(folder)): path.stat() for path in folder.rglob("*.*") if path.name != NAME}
    return {name: (one.st_ino, one.st_mtime_ns) for name, one in found.items()}


class Run:
    """``python -m runtime PACKAGE FOLDER -o OUT --recursive --skip-existing``, once it has begun."""

    def __init__(self, package: Path, folder: Path, out: Path) -> None:
        words = [sys.executable, "-m", "runtime", str(package), str(folder), "-o", str(out), "--recursive"]
        words += ["--skip-existing", "--steps", str(STEPS), "--json"]
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (closed by kill)
        self._process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._words)

    def lines(self) -> Iterator[dict[str, Any]]:
        """One for each photo, when it is done or skipped."""
        assert self._process.stdout is not None
        return map(json.loads, self._process.stdout)

    def resident_bytes(self) -> int:
        """Linux alone; 0 elsewhere, and once it has ended."""
        from runtime.machine.host import resident_bytes

        return resident_bytes(f"/proc/{self._process.pid}/statm") or 0

    def kill(self) -> None:
        """SIGKILL, where it has not ended."""
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait(60)
        self._process.stdout.close()
        self._words.close()

    def wait(self) -> None:
        """Raises EngineError where it fails."""
        if code := self._process.wait(60):
            self._words.seek(0)
            said = self._words.read()[-1000:].decode(errors="replace").strip()
            raise EngineError(f"the last run ended with {code}: {said}")


def killed(
    package: Path, folder: Path, out: Path, new: Sequence[int], rng: np.random.Generator
) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Run after run, each killed after it made so many ``new`` results, at a random moment: the results that are there
    then with their stamps, and what was wrong with them."""
    done: dict[str, tuple[int, int]] = {}
    problems: list[str] = []
    for count in new:
        run = Run(package, folder, out)
        try:
            lines, made = run.lines(), 0
            while made < count and (line := next(lines, None)) is not None:
                made += line["status"] == "done"
            time.sleep(rng.random() * (_LATER_S if count else _START_S))
        finally:
            run.kill()
        found = {name: stamp for name, stamp in stamps(out).items() if not Path(name).name.startswith(".")}
        problems += written_again(done, found)
        problems += [f"{name} is not whole" for name in found.keys() - done.keys() if not _is_whole(out / name)]
        done = found
    return done, problems


def written_again(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    return [f"{name} was written again, or lost" for name, stamp in before.items() if after.get(name) != stamp]


def _is_whole(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True


def finish(package: Path, folder: Path, out: Path) -> list[int]:
    """The last run, to its end: its resident bytes after each photo. Raises EngineError where it fails."""
    run = Run(package, folder, out)
    try:
        seen = [run.resident_bytes() for line in run.lines() if line["status"] == "done"]
        run.wait()
    finally:
        run.kill()
    return [one for one in seen if one]


def differing(package: Path, folder: Path, out: Path, photos: Sequence[Path]) -> list[str]:
    """Those of ``photos`` whose result is missing or another picture than the runtime's own."""
    import numpy as np

    from runtime import Enhancer
    from runtime.photo import read_photo

    problems = []
    with Enhancer.open(package) as enhancer:
        for photo in photos:
            result = out / photo.relative_to(folder)
            same = result.is_file() and _is_whole(result)
            if not same or not np.array_equal(
                read_photo(result).pixels, enhancer(read_photo(photo).pixels, steps=STEPS)
            ):
                problems.append(f"{result} is not the runtime's picture")
    return problems


class StandIn:
    """In the place of the enhancer: waits, as for a GPU, and brightens by adding."""

    why = ""

    def __init__(self, seconds: float) -> None:
        self._seconds, self.spent_s = seconds, 0.0

    def plan(self, *sizes: int, **options: object) -> None:
        return None

    def __call__(self, pixels: np.ndarray, **options: object) -> np.ndarray:
        import numpy as np

        started = time.perf_counter()
        time.sleep(self._seconds)
        bright: np.ndarray = np.minimum(pixels, 155) + np.uint8(100)
        self.spent_s += time.perf_counter() - started
        return bright


def beside(folder: Path, out: Path, count: int, seconds: float) -> tuple[float, float]:
    """(seconds of ``count`` JPEGs of 1 to 2 megapixels, seconds of them that an engine took that takes ``seconds``)."""
    from PIL import Image

    from runtime.cli.batch import Batch, Settings
    from runtime.cli.inputs import Naming, plan_work

    from .photos import synthetic

    folder.mkdir()
    for number, size in enumerate(_LARGE[:count]):
        Image.fromarray(synthetic(*size)).save(folder / f"{number:03}.jpg", quality=92)
    for number in range(len(_LARGE), count):
        shutil.copyfile(folder / f"{number % len(_LARGE):03}.jpg", folder / f"{number:03}.jpg")
    engine: Any = StandIn(seconds)
    batch = Batch(engine, Settings(), {}, folders=True)
    items = plan_work([str(folder)], str(out), Naming()).items
    started = time.perf_counter()
    batch.run(items)
    taken = time.perf_counter() - started
    if batch.summary.done != count:
        raise EngineError(f"{batch.summary.done} of {count} photos were done; free space.")
    return taken, engine.spent_s


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m benchmarks.folders",
        description="Kill runs over a folder, say what was lost or done twice; time reading and writing by an engine.",
        examples=("%(prog)s build/diffll-fp32 --photos 1000 --kills 30",),
    )
    add = parser.add_argument
    add("package", type=Path, metavar="PACKAGE")
    add("--photos", type=int, default=1000, metavar="N", help="small ones, in a tree (default: %(default)s)")
    add("--kills", type=int, default=30, metavar="N", help="(default: %(default)s)")
    add("--large", type=int, default=200, metavar="N", help="photos of 1 to 2 megapixels (default: %(default)s)")
    add("--engine-s", type=float, default=0.5, metavar="S", help="that each of them takes (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of the kills (default: 0)")
    args = parser.parse_args(argv)

    import numpy as np

    from runtime.package.reading import Package

    Package.open(args.package)  # a mistake is told before the first run
    rng = np.random.default_rng(args.seed)
    with scratch_folder("folders") as root:
        folder, out = root / "in", root / "out"
        photos = make_photos(folder, args.photos, size=(48, 32))
        # half of the photos, so that the last run shows its memory
        new = rng.integers(0, args.photos // max(args.kills, 1) + 1, args.kills)
        done, problems = killed(args.package, folder, out, new.tolist(), rng)
        resident = finish(args.package, folder, out)
        found = stamps(out)
        problems += written_again(done, found)
        problems += [f"{name} is not whole" for name in found if not _is_whole(out / name)]
        problems += differing(args.package, folder, out, photos[:: max(args.photos // 50, 1)])
        wanted = {str(photo.relative_to(folder)) for photo in photos}
        problems += [f"{name} is missing, or no result" for name in wanted ^ found.keys()]
        print(f"{len(done)} of {args.photos} photos done by {args.kills} killed runs, {len(resident)} by the last one")
        print(f"missing, not whole, another picture or written again: {len(problems)}")
        quarters = [part for part in np.array_split(resident, 4) if len(part)]
        if len(quarters) == 4:
            early, late = (median(quarters[at].tolist()) / 2**20 for at in (1, 3))
            quotient = f"{early:.1f} MiB in its second quarter, {late:.1f} in its last: {late / early:.4f}"
            print(f"memory of the last run, medians: {quotient}")
        if args.large:
            taken, engine = beside(root / "large", root / "bright", args.large, args.engine_s)
            quotient = f"{taken:.1f} s, engine {engine:.1f} s: {taken / engine:.3f}"
            print(f"{args.large} photos of 1 to 2 megapixels: {quotient}")
    for problem in problems[:10]:
        print(f"  {problem}")
    return SOME_FAILED if problems else 0


if __name__ == "__main__":
    run_command(main)
