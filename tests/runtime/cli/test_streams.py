"""Real commands whose stdin, stdout and stderr are closed, full, or not read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "assets/sample.png"


def shell(*words: object, streams: str) -> int:
    """The exit code of a command with ``streams`` in a shell's words."""
    line = f"exec {' '.join(map(str, words))} {streams}"
    return subprocess.run(["sh", "-c", line], cwd=ROOT, timeout=120, check=False).returncode


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "dark.png"
    Image.open(SAMPLE).resize((48, 32)).save(path)
    return path


@pytest.mark.parametrize("streams", ["2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_photo_needs_no_streams(tiny_package, photo, tmp_path, streams):
    bad, out = tmp_path / "bad.png", tmp_path / "out"
    bad.write_text("no photo")
    assert shell(sys.executable, "-m runtime", tiny_package, bad, photo, "-o", out, streams=streams) == 1
    assert [path.name for path in out.glob("[!.]*")] == ["dark.png"]
    assert Image.open(out / "dark.png").size == (48, 32)


@pytest.mark.parametrize("streams", [">&- 2>&-", ">/dev/full 2>/dev/full"])
def test_engines_need_no_streams(ready_package, streams):
    assert shell(sys.executable, "-m export.engine", ready_package, "--target ncnn", streams=streams) == 0


@pytest.mark.parametrize("streams", [">&-", ">/dev/full"])
def test_a_product_that_is_lost_is_a_failure(streams, tmp_path):
    told = tmp_path / "told"
    words = "-m benchmarks.report benchmarks/results/cpu-1-core.jsonl"
    assert shell(sys.executable, words, streams=f"{streams} 2>{told}") == 2
    (line,) = told.read_text().splitlines()
    assert line.startswith("error: standard output")


def test_a_reader_that_leaves_early_is_told_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "benchmarks.report", "benchmarks/results/cpu-1-core.jsonl"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_files_do_not_take_the_number_of_a_closed_stream(tmp_path):
    """What a library writes to stderr by itself would else be written into them."""
    code = (
        "import os; from runtime.cli.streams import open_standard_streams as begin; begin();"
        f"file = open({str(tmp_path / 'file')!r}, 'wb', 0); file.write(b'whole');"
        "assert file.fileno() > 2;\n"
        "try: os.write(2, b'log')\n"
        "except OSError: pass"
    )
    assert shell(sys.executable, f'-c "{code}"', streams="<&- >&- 2>&-") == 0
    assert (tmp_path / "file").read_bytes() == b"whole"
