"""The engine worker: a process that opens the package, reads requests from stdin and writes answers to stdout.

It reads and writes photos beside the engine, in threads. It ends when the server closes its stdin, and not by the
signals that a terminal or a service manager sends to the whole group: the server finishes its requests first.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from runtime import Enhancer
from runtime.cli.beside import Behind, ahead
from runtime.errors import DiffLLError
from runtime.machine.host import resident_bytes
from runtime.photo import Photo, encode_photo

from . import frames
from .options import photo_options
from .refused import refusal
from .settings import EngineSettings
from .tasks import Answer, Bench, Work

BEAT_S = 1.0  # between two signs of life
_log = logging.getLogger("serving.worker")


@dataclass
class Job:
    """A request in the worker, and how long its parts took."""

    header: frames.Header
    work: Work | None = None
    error: Exception | None = None
    ms: dict[str, float] = field(default_factory=dict)
    plan: str = ""


class Worker:
    """The server's other end: ``out`` is a binary file."""

    def __init__(self, settings: EngineSettings, out: Any) -> None:
        self._settings, self._out = settings, out
        self._lock = threading.Lock()
        self._requests: SimpleQueue[tuple[frames.Header, bytes]] = SimpleQueue()
        self._left: set[int] = set()
        """Requests whose clients have gone."""
        self._done = 0
        """The last one that was answered."""

    def run(self) -> None:
        with Enhancer.open(
            self._settings.package,
            backend=self._settings.backend,
            providers=self._settings.providers,
            max_memory=self._settings.max_memory,
        ) as enhancer:
            self._bench, self._enhancer = Bench(enhancer, self._settings), enhancer
            self._try()
            self._send({"event": "ready", "info": self._info()})
            threading.Thread(target=self._beat, daemon=True).start()
            threading.Thread(target=self._listen, daemon=True).start()
            with Behind(1) as behind, closing(ahead(self._prepared(), 1)) as ready:
                for job in ready:
                    bright = self._enhance(job)
                    behind.submit(self._finish, job, bright)

    def _try(self) -> None:
        """The package's own photo, by the self-test and then as a request: what is wrong is told before any client."""
        self._enhancer.self_test()
        photo = Photo(self._enhancer.package.golden()["photo"], None, False, None, None, "PNG")
        options = photo_options({}, self._enhancer.manifest.samplings, self._settings.sampling)
        work = self._bench.prepare({"task": "photo", "options": vars(options)}, encode_photo(photo, "PNG"))
        work.finish(self._enhancer(work.pixels, sampling=work.sampling))

    def _info(self) -> dict[str, Any]:
        manifest, backend = self._enhancer.manifest, self._enhancer.backend
        return {
            "backend": backend.name,
            "why": backend.why,
            "providers": list(self._settings.providers or ()),
            "precision": manifest.precision,
            "samplings": list(manifest.samplings),
            "sampling": self._settings.sampling,
        }

    def _listen(self) -> None:
        while (message := frames.read(sys.stdin.buffer)) is not None:
            header, content = message
            if "left" in header:
                if header["left"] > self._done:
                    self._left.add(header["left"])
            else:
                self._requests.put((header, content))
        os._exit(0)  # whatever the engine does: nobody waits for it

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            self._send({"event": "alive", "resident_bytes": resident_bytes()})

    def _prepared(self) -> Generator[Job, None, None]:
        while True:
            header, content = self._requests.get()
            job = Job(header)
            started = time.perf_counter()
            try:
                if not self._gone(job):
                    job.work = self._bench.prepare(header, content)
            except Exception as error:
                job.error = error
            job.ms["decode"] = 1000 * (time.perf_counter() - started)
            del content
            yield job

    def _gone(self, job: Job) -> bool:
        return job.header["id"] in self._left

    def _enhance(self, job: Job) -> Any:
        if job.work is None or self._gone(job):
            return None
        started = time.perf_counter()
        try:
            bright = self._enhancer(job.work.pixels, sampling=job.work.sampling)
        except Exception as error:
            job.error = error
            return None
        job.ms["engine"] = 1000 * (time.perf_counter() - started)
        job.plan = self._enhancer.why or "whole"
        return bright

    def _finish(self, job: Job, bright: Any) -> None:
        answer, started = Answer(b""), time.perf_counter()
        if job.work is not None and bright is not None and not self._gone(job):
            try:
                answer = job.work.finish(bright)
            except Exception as error:
                job.error = error
        job.ms["encode"] = 1000 * (time.perf_counter() - started)
        header: frames.Header = {"id": job.header["id"], "ms": job.ms, "plan": job.plan, "headers": {}}
        if job.error is not None:
            if not isinstance(job.error, DiffLLError):
                _log.error("request %s failed", job.header["request_id"], exc_info=job.error)
            refused = refusal(job.error)
            header |= {"status": refused.status, "error": refused.message}
        else:
            header |= {"status": 200, "headers": dict(answer.headers)}
        if job.work is not None:
            height, width = job.work.pixels.shape[:2]
            header |= {"pixels": height * width, "sampling": job.work.sampling}
        self._send(header, answer.content)
        self._done = job.header["id"]
        self._left.discard(self._done)

    def _send(self, header: frames.Header, content: bytes = b"") -> None:
        with self._lock:
            self._out.write(frames.head(header, len(content)))
            self._out.write(content)
            self._out.flush()


def main() -> None:
    """The settings are the process's last argument, as JSON."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(format="%(asctime)s %(levelname)s worker: %(message)s", level=logging.INFO)
    worker = Worker(EngineSettings(**json.loads(sys.argv[-1])), out)
    try:
        worker.run()
    except DiffLLError as error:
        worker._send({"event": "failed", "error": str(error)})
        raise SystemExit(1) from error
    except BrokenPipeError:  # the server was killed
        os._exit(1)
