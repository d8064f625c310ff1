"""Workers: they answer, stand still between their turns, and end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.job import Job
from benchmarks.process import ROOT, WorkerError, WorkerProcess


def state(pid: int) -> str:
    """The letter of /proc: T is stopped, Z dead, "" gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_for(letters: tuple[str, ...], pid: int) -> None:
    until = time.monotonic() + 20
    while state(pid) not in letters:
        assert time.monotonic() < until, f"process {pid} is in state {state(pid)!r}"
        time.sleep(0.01)


def test_a_worker_runs_its_photo_and_stands_still_between_turns(tiny_package, tmp_path):
    photo = np.full((20, 30, 3), 9, np.uint8)
    np.save(tmp_path / "photo.npy", photo)
    job = asdict(Job("package", str(tiny_package), 2, "ddim", "onnxruntime"))
    with WorkerProcess(tmp_path, "w") as worker:
        opened = worker.ask("open", job=job, photo=str(tmp_path / "photo.npy"))
        pid = worker._process.pid
        wait_for(("T",), pid)
        turn = worker.ask("run", count=3, save=str(tmp_path / "picture.npy"))
        wait_for(("T",), pid)
        memory = worker.ask("memory")
    assert opened["runs"] == "onnxruntime"
    assert opened["opening_ms"] > 1
    assert len(turn["ms"]) == len(turn["stages"]) == 3
    assert [len(steps) for steps in turn["steps"]] == [2, 2, 2]
    for ms, stages in zip(turn["ms"], turn["stages"], strict=True):
        assert 0 < sum(stages.values()) <= ms
    assert memory["host_peak_bytes"] >= opened["opened_bytes"] > 10 << 20
    assert state(pid) == ""
    from runtime.enhancer import Enhancer

    with Enhancer.open(tiny_package) as enhancer:
        np.testing.assert_array_equal(np.load(tmp_path / "picture.npy"), enhancer(photo, steps=2, seed=0))


def test_an_error_in_the_worker_names_its_kind(tiny_package, tmp_path):
    with WorkerProcess(tmp_path, "w") as worker:
        with pytest.raises(WorkerError, match="NopeExecutionProvider is not in this build") as caught:
            worker.ask(
                "open", job=asdict(Job("package", str(tiny_package), 2, "ddim", "onnxruntime", "Nope")), photo=""
            )
        assert caught.value.kind == "BackendUnavailableError"


def test_a_crash_and_a_hang_are_told(tmp_path):
    with WorkerProcess(tmp_path, "w") as worker:
        os.kill(worker._process.pid, signal.SIGSEGV)
        with pytest.raises(WorkerError, match="ended by itself with signal SIGSEGV"):
            worker.ask("memory")
    with WorkerProcess(tmp_path, "w") as worker:
        worker.ask("memory")
        worker._stopped = False  # nobody wakes it
        with pytest.raises(WorkerError, match=r"no answer to 'memory' in 0.2 s"):
            worker.ask("memory", 0.2)
        wait_for(("Z", ""), worker._process.pid)


PARENT = """
import sys, time
from pathlib import Path
from benchmarks.process import WorkerProcess
workers = [WorkerProcess(Path(sys.argv[1]), str(n)) for n in range(2)]
workers[0].ask("memory")
print(*(worker._process.pid for worker in workers), flush=True)
time.sleep(60)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(state(pid) not in ("", "Z") for pid in pids)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for pid in pids:  # one of them stopped, one of them waiting for its first command
        wait_for(("", "Z"), pid)
