"""The single file in onnxruntime against the runtime: ``python -m benchmarks.single PACKAGE FILE.onnx``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.cli.command import Parser, photo_size, run_command
from runtime.cli.streams import tell

if TYPE_CHECKING:
    import numpy as np

TILE_OVERLAP = 64  # pixels on each side, darktable 5.6 (src/common/ai/restore.c, OVERLAP_DENOISE)


def main(argv: Sequence[str] | None = None) -> int:
    what = "Time a single file in onnxruntime against the runtime, in turns; or tell what darktable's tiles change."
    parser = Parser(
        prog="python -m benchmarks.single",
        description=what,
        examples=("%(prog)s build/diffll-fp32 diffll.onnx photo.jpg",),
    )
    add = parser.add_argument
    add("package", type=Path, metavar="PACKAGE")
    add("file", type=Path, metavar="FILE.onnx", help="made of it by `python -m export.single`")
    add("photo", type=Path, metavar="PHOTO")
    add("--sampling", default="fast", metavar="NAME", help="that of the file (default: fast)")
    add("--rounds", type=int, default=9, metavar="N", help="default: 9")
    add("--size", default="600x400", metavar="WxH", help="the photo is brought to this size (default: 600x400)")
    add("--tile", type=int, action="append", default=[], metavar="SIDE", help="tiles of darktable in place of times")
    args = parser.parse_args(argv)

    import numpy as np
    from PIL import Image

    with Image.open(args.photo) as source:
        photo = np.asarray(source.convert("RGB").resize(photo_size(args.size), Image.Resampling.LANCZOS))
    if args.tile:
        tiles(args.file, photo, args.tile)
    else:
        times(args.package, args.file, photo, args.sampling, args.rounds)
    return 0


def times(package: Path, file: Path, photo: np.ndarray, sampling: str, rounds: int) -> None:
    """Print the processor time of both, medians, and the median of the ratios of each round."""
    from runtime import Enhancer

    def single() -> Callable[[], np.ndarray]:
        session = opened(file)
        return lambda: picture(session, photo)

    def ours() -> Callable[[], np.ndarray]:
        enhancer = Enhancer.open(package)
        return lambda: enhancer(photo, sampling=sampling)

    first: dict[str, list[float]] = {"runtime": [], "single": []}
    each: dict[str, list[float]] = {"runtime": [], "single": []}
    for number in range(rounds):
        turns = [("runtime", ours), ("single", single)]
        for name, make in turns if number % 2 else reversed(turns):
            began = time.process_time()
            run = make()
            run()
            ready = time.process_time()
            run()
            first[name].append(ready - began)
            each[name].append(time.process_time() - ready)
    _show("opening and first photo", first)
    _show("a photo", each)


def tiles(file: Path, photo: np.ndarray, sides: Sequence[int]) -> None:
    """Print how far the picture from darktable's tiles is from the file's own: dB, and grey levels at most and on
    average. The tiles: ``side`` square, at steps of side less twice the overlap, mirrored past the photo's edges."""
    import numpy as np

    from runtime.image import psnr

    session = opened(file)
    whole = picture(session, photo)
    height, width = photo.shape[:2]
    for side in sides:
        step, tiled = side - 2 * TILE_OVERLAP, np.empty_like(photo)
        for top in range(0, height, step):
            for left in range(0, width, step):
                rows, columns = (_mirrored(at, side, size) for at, size in ((top, height), (left, width)))
                tile = picture(session, photo[rows][:, columns])[TILE_OVERLAP:, TILE_OVERLAP:]
                place = tiled[top : top + step, left : left + step]
                place[:] = tile[: place.shape[0], : place.shape[1]]
        off = np.abs(tiled.astype(int) - whole)
        found = f"{psnr(whole, tiled, 255):.2f} dB, {off.mean():.2f} grey levels on average, {off.max()} at most"
        tell(f"tiles of {side}: {found}; mean of the picture {whole.mean():.1f}, tiled {tiled.mean():.1f}")


def opened(file: Path) -> Any:
    """A session with the runtime's threads, which hardly spin: onnxruntime's own take more time beside other work."""
    from runtime.engines.libraries import loading
    from runtime.machine.cores import usable_cores

    with loading("onnxruntime", "benchmarks.single"):
        import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def picture(session: Any, photo: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, RGB -> the same, brightened by the file that ``session`` has open."""
    import numpy as np

    planes = np.ascontiguousarray(photo.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    output: np.ndarray = session.run(None, {"image": planes})[0][0]
    return np.floor(255 * output.transpose(1, 2, 0) + np.float32(0.5)).astype(np.uint8)


def _mirrored(at: int, side: int, size: int) -> np.ndarray:
    """The rows or columns of the photo that a tile has whose inside begins at ``at``."""
    import numpy as np

    places = np.abs(np.arange(at - TILE_OVERLAP, at - TILE_OVERLAP + side))
    return np.clip(np.where(places >= size, 2 * size - 2 - places, places), 0, size - 1)


def _show(what: str, found: dict[str, list[float]]) -> None:
    import numpy as np

    ours, single = (np.array(found[name]) for name in ("runtime", "single"))
    medians = f"processor time, runtime {np.median(ours):.3f} s, single file {np.median(single):.3f} s"
    tell(f"{what}: {medians}, ratio {np.median(single / ours):.3f} (median of {len(ours)} rounds)")


if __name__ == "__main__":
    run_command(main)
