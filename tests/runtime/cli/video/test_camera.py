"""A camera: here a program that writes frames as one does, faster than they are taken."""

from __future__ import annotations

import os
import signal
import sys
import time
from fractions import Fraction

import numpy as np
import pytest

from runtime.cli.video.camera import is_camera, open_camera
from runtime.cli.video.command import _ends_by_signal
from runtime.cli.video.sources import LiveSource
from runtime.errors import DiffLLError, InputError

CAMERA = """
import sys, time
for number in range({count}):
    sys.stdout.buffer.write(bytes([number]) * 4 * 3 * 3)
    sys.stdout.flush()
    time.sleep({wait})
{then}
"""


def camera(count: int, wait: float, then: str = "") -> LiveSource:
    script = CAMERA.format(count=count, wait=wait, then=then)
    return LiveSource([sys.executable, "-c", script], 4, 3, Fraction(30))


def test_the_newest_frame_is_taken_and_late_ones_are_counted(time_limit):
    source, seen = camera(40, 0.02), []
    try:
        with time_limit(60):
            for frame in source.frames():
                assert frame.pixels.shape == (3, 4, 3)
                seen.append((int(frame.pixels[0, 0, 0]), frame.time_ns))
                time.sleep(0.1)
    finally:
        source.close()
    numbers, stamps = zip(*seen, strict=True)
    assert numbers[-1] == 39
    assert list(numbers) == sorted(set(numbers))
    assert stamps[0] == 0
    assert (np.diff(stamps) > 0).all()
    assert source.dropped == 40 - len(seen)
    assert source.dropped > 10


def test_a_signal_ends_it_in_good_order(time_limit):
    source, seen = camera(1000, 0.02), 0
    try:
        with time_limit(60), _ends_by_signal(source):
            for _ in source.frames():
                seen += 1
                if seen == 3:
                    os.kill(os.getpid(), signal.SIGINT)
    finally:
        source.close()
    assert seen == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_camera_that_is_not_there_says_its_own_words(time_limit):
    source = LiveSource([sys.executable, "-c", "raise SystemExit('no such device')"], 4, 3, Fraction(30))
    try:
        with time_limit(60), pytest.raises(InputError, match=r"no picture .*no such device"):
            list(source.frames())
    finally:
        source.close()


def test_what_is_asked_of_a_camera():
    assert all(map(is_camera, ("/dev/video0", "rtsp://host/stream", "gst:videotestsrc")))
    assert not any(map(is_camera, ("clip.mp4", "-", "dev/video.mp4")))
    with pytest.raises(DiffLLError, match="--size"):
        open_camera("gst:videotestsrc", None, None)
    with pytest.raises(DiffLLError, match="leave --size out"):
        open_camera("rtsp://127.0.0.1:9/none", (64, 48), None)
