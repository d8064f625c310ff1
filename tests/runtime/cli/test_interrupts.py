"""Commands that are ended from outside: real signals, in a real terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A command that works until it is ended, shows it, and cleans up for a while.
COMMAND = """
import sys, time
from runtime.cli.command import run_command
from runtime.cli.progress import Progress
def main(argv):
    with Progress().count(9, "photo") as begin:
        try:
            begin("a.png")
            print("ready", flush=True)
            while True: time.sleep(0.05)
        finally:
            time.sleep(0.3)
            print("clean", flush=True)
run_command(main)
"""


def begin(ignored: tuple[signal.Signals, ...] = (), **streams: int) -> subprocess.Popen[bytes]:
    """COMMAND, at work; it has Python's own way with signals, whatever this process ignores, but for ``ignored``."""

    def dispose() -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    words = [sys.executable, "-c", COMMAND]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, preexec_fn=dispose, **streams)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("times", [1, 3])
def test_the_exit_code_tells_the_signal_and_repetition_changes_nothing(number, times):
    process = begin(stderr=subprocess.PIPE)
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.05)  # quick, and while it cleans up
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (128 + number, b"clean\n")
    assert err == b"error: interrupted; nothing half-written is left behind.\n"


def test_nohup_is_heeded():
    process = begin(ignored=(signal.SIGHUP,), stderr=subprocess.PIPE)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_the_message_stands_alone_in_a_terminal():
    controller, terminal = pty.openpty()
    process = begin(stderr=terminal)
    os.close(terminal)
    process.send_signal(signal.SIGINT)
    shown = b""
    while True:
        try:
            shown += os.read(controller, 4096)
        except OSError:  # the other end is closed
            break
    process.communicate(timeout=30)
    before, found, after = shown.partition(b"error: interrupted")
    assert b"0/9" in before
    assert before.endswith(b"\r\n")  # the bar stays
    assert b"error: interrupted; nothing half-written is left behind.\r\n" in found + after
