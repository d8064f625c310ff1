"""``python -m benchmarks.serving``: clients at a server, good requests and bad ones; none may be lost or wrong."""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from runtime.cli.command import SOME_FAILED, Parser, photo_size, run_command
from runtime.errors import EngineError
from runtime.machine.leftovers import scratch_folder

if TYPE_CHECKING:
    from runtime import Enhancer

ROOT = Path(__file__).parent.parent
_START_S = 120.0


@dataclass
class Server:
    """A server of its own process. log: what it writes to stderr."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def send(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
        """(code, headers, content) of a GET, or of a POST with ``body``."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET" if body is None else "POST", path, body, names)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def wait_ready(self) -> None:
        """Raises EngineError where it ends, or takes too long."""
        until = time.monotonic() + _START_S
        while self.process.poll() is None and time.monotonic() < until:
            if self.send("/v2/health/ready")[0] == 200:
                return
            time.sleep(0.05)
        raise EngineError(f"the server did not become ready: {self.log.read_text()[-1000:]}")

    def metric(self, line: str) -> float:
        """The value of the metric whose name and labels are ``line``."""
        text = self.send("/metrics")[2].decode()
        return float(next(one.rsplit(" ", 1)[1] for one in text.splitlines() if one.startswith(f"{line} ")))


@contextmanager
def running(package: Path, log: Path, *options: object) -> Iterator[Server]:
    """A server of ``package`` on a free port, once it is listening. Raises EngineError."""
    words = [sys.executable, "-m", "serving", str(package), "--port", "0", *map(str, options)]
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    with log.open("wb") as file:
        process = subprocess.Popen(words, stderr=file, stdout=file, env={**os.environ, "PYTHONPATH": path})
    try:
        until = time.monotonic() + _START_S
        while (found := re.search(r"listening on http://127\.0\.0\.1:(\d+)/", log.read_text())) is None:
            if process.poll() is not None or time.monotonic() > until:
                raise EngineError(f"the server did not start: {log.read_text()[-1000:]}")
            time.sleep(0.02)
        yield Server(process, int(found[1]), log)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Case:
    """A request, and what has to come back."""

    body: bytes
    code: int
    pixels: Any = None
    """(H, W, 3) uint8 of the right answer."""
    query: str = ""


def cases(enhancer: Enhancer, size: tuple[int, int], count: int, sampling: str) -> list[Case]:
    """``count`` cases, every tenth of them bad. size: width and height of the photos."""
    import numpy as np

    from runtime.photo import Photo, encode_photo

    from .photos import synthetic

    width, height = size
    scene, good = synthetic(width, height), []
    for turn in range(4):
        pixels = np.ascontiguousarray(np.roll(scene, turn * width // 4, axis=1))
        body = encode_photo(Photo(pixels, None, False, None, None, "PNG"), "PNG")
        good.append(Case(body, 200, enhancer(pixels, sampling=sampling)))
    whole = good[0].body
    bad = [
        Case(b"no photo at all", 400),
        Case(whole[: len(whole) // 2], 400),
        Case(b"GIF89a" + bytes(50), 415),
        Case(whole, 400, query="?sampling=none"),
        Case(_bomb(), 413),
    ]
    return [bad[n // 10 % len(bad)] if n % 10 == 9 else good[n % len(good)] for n in range(count)]


def _bomb() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Seen:
    """What came back."""

    problem: str
    """Empty where it was right."""
    code: int
    ms: float
    parts: dict[str, float]
    """Milliseconds by the server's own clock: queue, decode, engine, encode."""


def ask(server: Server, case: Case) -> Seen:
    import numpy as np

    from runtime.photo import read_photo

    started = time.perf_counter()
    try:
        code, headers, content = server.send(f"/v1/enhance{case.query}", case.body)
    except OSError as error:
        return Seen(f"lost: {error!r}", 0, 0.0, {})
    ms = 1000 * (time.perf_counter() - started)
    parts = {name: float(value) for name, value in re.findall(r"(\w+);dur=([\d.]+)", headers["server-timing"] or "")}
    if code != case.code:
        return Seen(f"code {code} in place of {case.code}: {content[:200]!r}", code, ms, parts)
    if case.pixels is not None and not np.array_equal(read_photo(content).pixels, case.pixels):
        return Seen("another picture", code, ms, parts)
    return Seen("", code, ms, parts)


def load(server: Server, work: Sequence[Case], clients: int) -> tuple[list[Seen], float]:
    """(what came back for each case, seconds in all), by so many clients, each with one request at a time."""
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        seen = list(pool.map(lambda case: ask(server, case), work))
    return seen, time.perf_counter() - started


def ratio(seen: Sequence[Seen]) -> float:
    """Median latency over the median of the engine's own time and decoding, of answers with a picture."""
    good = [one for one in seen if one.code == 200]
    return median(one.ms for one in good) / median(one.parts["engine"] + one.parts["decode"] for one in good)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.serving",
        description="Start a server, send it good requests and bad ones, and say what was lost, wrong and slow.",
        examples=("%(prog)s build/diffll-fp32 --sampling fast --requests 500",),
    )
    add = parser.add_argument
    add("package", type=Path, metavar="PACKAGE")
    add("--sampling", default="published", metavar="NAME")
    add("--backend", default="onnxruntime", metavar="NAME")
    add("--size", type=photo_size, default=(600, 400), metavar="WxH", help="of the photos (default: 600x400)")
    add("--requests", type=int, default=500, metavar="N", help="a tenth of them bad (default: %(default)s)")
    add("--clients", type=int, default=8, metavar="N", help="(default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)

    from runtime import Enhancer

    with Enhancer.open(args.package, backend=args.backend) as enhancer:
        work = cases(enhancer, args.size, args.requests, args.sampling)
    with scratch_folder("serving") as folder:
        options = ("--backend", args.backend, "--sampling", args.sampling)
        with running(args.package, folder / "log", *options) as server:
            server.wait_ready()
            alone, _ = load(server, [case for case in work if case.code == 200][:25], 1)
            before = server.metric("diffll_engine_resident_bytes")
            seen, seconds = load(server, work, args.clients)
            time.sleep(2)
            after = server.metric("diffll_engine_resident_bytes")
    wrong = [one.problem for one in seen if one.problem]
    codes = ", ".join(f"{count} x {code}" for code, count in sorted(Counter(one.code for one in seen).items()))
    engine = sum(one.parts.get("engine", 0.0) for one in seen) / 1000
    good = [one.ms for one in seen if one.code == 200]
    print(f"{len(seen)} requests by {args.clients} clients in {seconds:.1f} s: {codes}; lost or wrong: {len(wrong)}")
    print(f"median latency alone: {median(one.ms for one in alone):.1f} ms, {ratio(alone):.3f} of engine + decoding")
    print(f"median latency by {args.clients}: {median(good):.1f} ms; the engine was at work for {engine / seconds:.1%}")
    print(f"memory of the engine worker: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
    for problem in wrong[:10]:
        print(f"  {problem}")
    return SOME_FAILED if wrong else 0


if __name__ == "__main__":
    run_command(main)
