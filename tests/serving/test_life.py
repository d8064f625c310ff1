"""A server's life: it starts, is busy, loses its worker, drains and ends; real processes and real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving import Server, cases, load, ratio, running
from runtime.photo import Photo, encode_photo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def long() -> bytes:
    """A photo that takes the small network some tenths of a second."""
    return encode_photo(Photo(np.full((192, 256, 3), 9, np.uint8), None, False, None, None, "PNG"), "PNG")


def with_three_places(package, folder):
    with running(package, folder / "log", "--queue", "3") as server:
        server.wait_ready()
        yield server


@pytest.fixture
def own(served_package, tmp_path):
    """A server of the test's own."""
    yield from with_three_places(served_package, tmp_path)


@pytest.fixture(scope="module")
def shared(served_package, tmp_path_factory):
    """One that goes on, ready after each test."""
    yield from with_three_places(served_package, tmp_path_factory.mktemp("shared"))


def worker_of(server: Server) -> int:
    return int(re.findall(r"engine worker (\d+) is ready", server.log.read_text())[-1])


def wait_for(what, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_none_is_lost_and_none_is_wrong(served_package, enhancer, tmp_path):
    work = cases(enhancer, (48, 32), 40, "fast")
    with running(served_package, tmp_path / "log", "--sampling", "fast") as server:
        server.wait_ready()
        seen, _ = load(server, work, 8)
    assert [one.problem for one in seen if one.problem] == []
    assert {one.code for one in seen} == {200, 400, 415}
    assert ratio(seen) > 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_ends_or_hangs_is_noticed_and_replaced(shared, long, png, number):
    """With SIGSTOP it hangs: it gives no sign of life."""
    first, before = worker_of(shared), shared.metric("diffll_engine_ended_total")
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(shared.send, "/v1/enhance", long) for _ in range(3)]
        wait_for(lambda: shared.metric("diffll_at_work") == 3)
        os.kill(first, number)
        started = time.monotonic()
        for answer in answers:
            code, headers, content = answer.result(timeout=30)
            assert code == 503
            assert headers["retry-after"]
            assert "the engine ended (SIGKILL)" in json.loads(content)["error"]
        assert time.monotonic() - started < 10
    wait_for(lambda: shared.send("/v2/health/ready")[0] == 200)
    assert worker_of(shared) != first
    assert shared.send("/v1/enhance", png)[0] == 200
    assert shared.metric("diffll_engine_ended_total") == before + 1


def test_a_busy_server_says_so_and_a_client_that_leaves_frees_its_place(shared, long, png):
    lines = []
    for _ in range(3):
        line = socket.create_connection(("127.0.0.1", shared.port), timeout=60)
        line.sendall(b"POST /v1/enhance HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(long) + long)
        lines.append(line)
    wait_for(lambda: shared.metric("diffll_places_taken") == 3)
    code, headers, content = shared.send("/v1/enhance", png)
    assert (code, 1 <= int(headers["retry-after"]) <= 60) == (429, True)
    assert "all 3 places are taken" in json.loads(content)["error"]
    for line in lines[1:]:
        line.close()
    wait_for(lambda: shared.metric("diffll_places_taken") <= 1)
    assert shared.send("/v1/enhance", png)[0] == 200
    assert lines[0].recv(12) == b"HTTP/1.1 200"
    lines[0].close()
    assert shared.log.read_text().count(" 499 ") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_drains(own, long, number):
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(own.send, "/v1/enhance", long) for _ in range(2)]
        wait_for(lambda: own.metric("diffll_at_work") == 2)
        worker = worker_of(own)
        own.process.send_signal(number)
        wait_for(lambda: own.send("/v2/health/ready")[0] == 503)
        code, _, content = own.send("/v1/enhance", long)
        assert (code, json.loads(content)["error"]) == (503, "the server is shutting down.")
        assert [answer.result(timeout=60)[0] for answer in answers] == [200, 200]
    assert own.process.wait(30) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_worker_whose_server_was_killed_ends(own):
    worker = worker_of(own)
    own.process.kill()

    def ended() -> bool:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return True
        return "Z" in Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2]

    wait_for(ended, 10)


def command(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "serving", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_mistakes_of_the_command(served_package, tmp_path):
    taken = socket.create_server(("127.0.0.1", 0))
    for words, told in [
        ([tmp_path / "none", "--port", 0], "none"),
        ([served_package, "--port", 0, "--sampling", "slow"], "the sampling 'slow' is not known"),
        ([served_package, "--port", taken.getsockname()[1]], "cannot listen on 127.0.0.1"),
        ([served_package, "--port", 70_000], "--port 70000"),
        ([served_package, "--max-body", "much"], "much"),
    ]:
        done = command(*words)
        last = done.stderr.splitlines()[-1]
        assert (done.returncode, last[:7], told in last) == (2, "error: ", True), done.stderr
    taken.close()
