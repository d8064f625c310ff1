"""Processes forked from one with an open enhancer, as multiprocessing and gunicorn make them: a result, or
an EngineError that says what to do; never a hang, at their end neither. In a process of its own, in limited time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import gc, os, sys, threading, time
import numpy as np
from runtime import EngineError, Enhancer

path, backend = sys.argv[1:]
photo = np.random.default_rng(0).integers(0, 60, (48, 64, 3), dtype=np.uint8)
enhancer = Enhancer.open(path, backend=backend)
wanted = enhancer(photo, steps=2)
stream = enhancer.stream([photo] * 9, steps=2)

def own():
    with Enhancer.open(path, backend=backend) as mine:
        assert np.abs(mine(photo, steps=2).astype(int) - wanted).max() <= 1

def drop():
    global enhancer, stream
    enhancer = stream = None
    gc.collect()

def fork(*acts):
    for act in (lambda: enhancer(photo), lambda: next(stream), enhancer.self_test, enhancer.close, drop, *acts):
        child = os.fork()
        if child == 0:
            try:
                act()
                code = 10
            except EngineError as error:
                code = 11 if "forked" in str(error) and "spawn" in str(error) else 12
            sys.exit(code)  # os._exit, with which multiprocessing ends, does less
        until = time.monotonic() + 100  # generous: OpenVINO compiles
        while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < until:
            time.sleep(0.005)
        if not ended[0]:
            os.kill(child, 9)
            os.waitpid(child, 0)
        print("hangs" if not ended[0] else os.waitstatus_to_exitcode(ended[1]), end=" ", flush=True)

fork(own)
next(stream)  # its threads run
fork()
over = threading.Event()
def work():
    while not over.is_set():
        enhancer(photo, steps=50)
thread = threading.Thread(target=work)
thread.start()
while not enhancer.runner.lock.locked():
    pass
fork(own)
over.set()
thread.join()
np.testing.assert_array_equal(enhancer(photo, steps=2), wanted)  # the parent goes on
stream.close()
enhancer.close()
"""
REFUSED, DONE = "11", "10"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "ncnn"])
def test_a_fork_never_hangs(ready_package, backend):
    """Forked before anything else, while a stream is under way, and from within a call."""
    command = [sys.executable, "-c", SCRIPT, str(ready_package), backend]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    every = f"{REFUSED} {REFUSED} {REFUSED} {DONE} {DONE}"
    own = DONE if backend == "onnxruntime" else REFUSED  # the others' threads and locks serve a whole process
    assert done.stdout.split() == f"{every} {own} {every} {every} {own}".split(), done.stderr
    assert done.returncode == 0, done.stderr
