"""The thread that owns an NVIDIA provider's sessions, here with the CPU provider in its place."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

import numpy as np
import onnxruntime as ort
import pytest

from runtime import Enhancer
from runtime.backends import open_backend
from runtime.backends.base import Part
from runtime.backends.onnxruntime import session as onnxruntime_
from runtime.package.reading import Package


def photo(seed: int, height: int = 47, width: int = 65) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def captured(monkeypatch):
    monkeypatch.setattr(onnxruntime_, "CAPTURES", {"CPUExecutionProvider": {}})


@pytest.fixture
def threads(monkeypatch):
    """The threads that sessions were opened and run in."""
    found: set[int] = set()
    real_run, real_session = ort.InferenceSession.run_with_iobinding, ort.InferenceSession.__init__

    def run(session, binding, options=None):
        found.add(threading.get_ident())
        real_run(session, binding, options)

    def opened(session, *arguments, **named):
        found.add(threading.get_ident())
        real_session(session, *arguments, **named)

    monkeypatch.setattr(ort.InferenceSession, "run_with_iobinding", run)
    monkeypatch.setattr(ort.InferenceSession, "__init__", opened)
    return found


def test_calls_streams_and_threads_all_run_in_one(tiny_package, threads):
    """A thread that ran a session keeps graphs and handles for it: more threads would be memory that grows."""
    frames = [photo(seed) for seed in range(4)]
    with Enhancer.open(tiny_package, backend="onnxruntime") as enhancer:
        expected = [enhancer(one, steps=2) for one in frames]
        streamed = list(enhancer.stream(frames, steps=2))
        stream = enhancer.stream(frames, steps=2)
        next(stream)
        stream.close()
        with ThreadPoolExecutor(3) as pool:
            called = list(pool.map(lambda one: enhancer(one, steps=2), frames))
        enhancer(photo(9, 96, 64), steps=1)
    (owner,) = threads
    assert owner != threading.get_ident()
    for one, two, three in zip(expected, streamed, called, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_copies_wait_while_a_run_captures_and_not_while_one_replays(tiny_package, monkeypatch):
    package = Package.open(tiny_package)
    backend = open_backend("onnxruntime", package, None)
    specs = package.manifest.stage("dwt").tensors
    buffers = {name: backend.buffer(spec, spec.resolve(1, 16, 16)) for name, spec in specs.items()}
    image = np.ones((1, 3, 16, 16), np.float32)
    backend.upload(buffers["image"], image)
    other = backend.buffer(specs["image"], (1, 3, 16, 16))
    job = backend.sequence([Part("dwt", backend.bind("dwt", buffers))])
    inside, over, real = threading.Event(), threading.Event(), ort.InferenceSession.run_with_iobinding

    def run(session, binding, options=None):
        inside.set()
        assert over.wait(30)
        real(session, binding, options)

    monkeypatch.setattr(ort.InferenceSession, "run_with_iobinding", run)
    for captures in (True, False):
        inside.clear()
        over.clear()
        with ThreadPoolExecutor(3) as pool:
            try:
                submitted = pool.submit(job.submit)
                assert inside.wait(30)
                copies = [pool.submit(backend.download, other), pool.submit(backend.upload, other, image)]
                if captures:
                    with pytest.raises(NotYet):
                        copies[0].result(0.2)
                    assert not any(copy.done() for copy in (*copies, submitted))
                else:
                    for copy in copies:
                        copy.result(30)
                    assert not submitted.done()
            finally:
                over.set()
            for one in (submitted, *copies):
                one.result(30)
    np.testing.assert_array_equal(backend.download(buffers["x_cond"]), np.full((1, 3, 4, 4), 4, np.float32))
    backend.close()
