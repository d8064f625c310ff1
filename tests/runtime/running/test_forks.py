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

path, backend, when = sys.argv[1:]
photo = np.random.default_rng(0).integers(0, 60, (48, 64, 3), dtype=np.uint8)
enhancer = Enhancer.open(path, backend=backend)
wanted = enhancer(photo, steps=2)
stream = enhancer.stream([photo] * 9, steps=2)
if when == "stream":
    next(stream)
over = threading.Event()
def work():
    while not over.is_set():
        enhancer(photo, steps=50)
if when == "call":
    threading.Thread(target=work).start()
    while not enhancer.runner.lock.locked():
        pass

def own():
    with Enhancer.open(path, backend=backend) as mine:
        assert np.abs(mine(photo, steps=2).astype(int) - wanted).max() <= 1

def drop():
    global enhancer, stream
    enhancer = stream = None
    gc.collect()

for act in (lambda: enhancer(photo), lambda: next(stream), enhancer.self_test, own, enhancer.close, drop):
    for leave in (os._exit, sys.exit):
        child = os.fork()
        if child == 0:
            try:
                act()
                code = 10
            except EngineError as error:
                code = 11 if "forked" in str(error) and "spawn" in str(error) else 12
            leave(code)
        until = time.monotonic() + 20
        while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < until:
            time.sleep(0.005)
        if not ended[0]:
            os.kill(child, 9)
            os.waitpid(child, 0)
        print("hangs" if not ended[0] else os.waitstatus_to_exitcode(ended[1]), end=" ", flush=True)
over.set()
np.testing.assert_array_equal(enhancer(photo, steps=2), wanted)  # the parent goes on
stream.close()
enhancer.close()
"""
REFUSED, DONE = "11 11", "10 10"


@pytest.mark.parametrize("when", ["before", "stream", "call"])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "ncnn"])
def test_a_fork_never_hangs(ready_package, backend, when):
    command = [sys.executable, "-c", SCRIPT, str(ready_package), backend, when]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    own = REFUSED if backend == "ncnn" else DONE  # ncnn's OpenMP threads serve a whole process
    assert done.stdout.split() == f"{REFUSED} {REFUSED} {REFUSED} {own} {DONE} {DONE}".split(), done.stderr
    assert done.returncode == 0, done.stderr
