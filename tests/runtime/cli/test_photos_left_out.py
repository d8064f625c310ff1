"""What an output format has no place for: one line a photo on stderr, above the progress bar, and exit code 0."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from runtime.cli.progress import Progress

ROOT = Path(__file__).parents[3]


def test_one_line_a_photo(tiny_package, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 60, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "dark.jpg", comment=b"night")
    out = tmp_path / "bright.webp"
    command = [sys.executable, "-m", "runtime", str(tiny_package), str(tmp_path / "dark.jpg"), "-o", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    first, last = done.stderr.splitlines()
    assert first == f"{out}: left out: a comment (a WebP has no place for it)"
    assert last.startswith(f"{out}: done in ")


def test_a_warning_stands_on_a_line_of_its_own_above_the_bar():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = Progress(stream)
    with progress.warnings(), progress.count(3, "photo") as begin:
        begin("a.jpg")
        logging.getLogger("runtime.photo.write").warning("%s: left\nout", "a.jpg")
    assert "\r\x1b[2Ka.jpg: left?out\n" in stream.getvalue()
    assert logging.getLogger("runtime").handlers == []
