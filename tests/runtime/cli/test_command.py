"""What the commands share."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cli.command import ROOT, photo_size, program
from runtime.errors import InputError

ROOM = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("words", "name"),
    [((), "runtime"), (("video",), "runtime.video"), (("plan",), "runtime.plan"), (("doctor",), "runtime.doctor")],
)
def test_the_first_word_chooses_the_command_and_every_help_has_examples(words, name):
    command = [sys.executable, "-m", "runtime", *words, "--help"]
    said = subprocess.run(command, cwd=ROOM, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.startswith(f"usage: python -m {name} ")
    assert re.search(rf"^examples:\n.*python -m {name} build/", said, re.MULTILINE | re.DOTALL)


def test_a_command_is_called_as_its_reader_did(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/diffll", "plan"])
    assert (program(), program("plan")) == ("diffll", "diffll plan")
    monkeypatch.setattr(sys, "argv", ["runtime/__main__.py"])
    assert (program(), program("plan")) == (f"python -m {ROOT}", f"python -m {ROOT}.plan")


def test_a_size_is_width_and_height():
    assert photo_size("1920x1080") == (1920, 1080)
    assert photo_size(" 65536X1 ") == (65536, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("100", "'100' is not WxH"),
        ("100x", "is not WxH"),
        ("1e3x5", "is not WxH"),
        ("٣x٣", "is not WxH"),
        ("100x-5", "100x-5 is smaller than 1x1"),
        ("0x100", "smaller than 1x1"),
        ("65537x1", "a side over 65536 pixels"),
    ],
)
def test_what_is_no_size_is_told(text, words):
    with pytest.raises(InputError, match=words):
        photo_size(text)
