"""What a command shows while it runs: in a terminal, in a log file, and not at all."""

from __future__ import annotations

import io
import re
import time

import pytest

from runtime.cli import progress as progress_module
from runtime.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(progress_module, "_REWRITE_S", 0.02)
    monkeypatch.setattr(progress_module, "_COUNT_S", 0.02)


def test_a_count_in_a_terminal_is_one_line_whose_end_stays():
    shown = Terminal()
    with Progress(shown).count(3, "photo") as begin:
        begin("a.png")
        begin("b\x1b[31m.png")
        time.sleep(0.2)
        begin("c.png" * 40)
    pieces = shown.getvalue().split("\r\x1b[2K")
    assert "[........................] 0/3, 0 s  a.png" in pieces
    assert any(
        re.fullmatch(r"\[#{8}\.{16}\] 1/3, [\d.e+]+ photos a second, \d s left  b\?\[31m\.png", piece)
        for piece in pieces
    )
    assert len(pieces) > 5  # rewritten while the second took its time
    assert all(len(piece) < 80 for piece in pieces)
    assert re.fullmatch(r"\[#{24}\] 3/3, [\d.e+]+ photos a second, 0 s left\n", pieces[-1])
    assert shown.getvalue().count("\n") == 1


def test_a_note_stays_and_the_count_goes_on_behind_it():
    shown = Terminal()
    progress = Progress(shown)
    with progress.count(2, "photo") as begin:
        begin("a.png")
        progress.note("error: a.png: cut")
        begin("b.png")
    assert "\r\x1b[2Kerror: a.png: cut\n\r\x1b[2K[############............] 1/2" in shown.getvalue()


def test_a_count_in_a_log_file_is_a_line_now_and_then():
    log = io.StringIO()
    with Progress(log).count(60, "photo") as begin:
        for index in range(6):
            begin(f"{index}.png")
        time.sleep(0.2)
    lines = log.getvalue().splitlines()
    assert len(lines) >= 2
    assert all(re.fullmatch(r"5/60, [\d.e+]+ photos a second, \d s left  5\.png", line) for line in lines)


def test_a_single_photo_that_takes_long_gives_signs_of_life_in_a_log_file():
    log = io.StringIO()
    with Progress(log).count(1, "photo") as begin:
        begin("a.png")
        assert log.getvalue() == ""
        time.sleep(0.1)
    assert log.getvalue().splitlines()[0] == "0/1, 0 s  a.png"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (100, "2 min"), (5000, "83 min"), (9000, "2 h 30 min")]
)
def test_how_time_left_is_written(seconds, words):
    assert progress_module._duration(seconds) == words
