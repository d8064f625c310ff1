"""The command, run as a user runs it: files in, files out, one `error:` line, exit codes."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.photo.journal import NAME

ROOT = Path(__file__).parents[3]


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "dark.png"
    pixels = np.random.default_rng(0).integers(0, 60, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def runtime(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


def one_error_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_one_photo_to_a_file(tiny_package, photo, tmp_path):
    from runtime import Enhancer

    out = tmp_path / "bright.png"
    done = runtime(tiny_package, photo, "-o", out, "--seed", 3, "--steps", 5)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(rf"{re.escape(str(out))}: done in \d+\.\d s\n", done.stderr)
    with Enhancer.open(tiny_package) as enhancer:
        expected = enhancer(np.asarray(Image.open(photo)), seed=3, steps=5)
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)


def test_before_after(tiny_package, photo, tmp_path):
    out = tmp_path / "both.png"
    assert runtime(tiny_package, photo, "-o", out, "--before-after").returncode == 0
    both = np.asarray(Image.open(out))
    assert both.shape == (20, 60, 3)
    np.testing.assert_array_equal(both[:, :30], np.asarray(Image.open(photo)))


def test_bad_photos_do_not_stop_the_others(tiny_package, photo, tmp_path):
    truncated, text, empty, good = (tmp_path / name for name in ("cut.png", "text.jpg", "empty.bmp", "b.png"))
    truncated.write_bytes(photo.read_bytes()[:200])
    text.write_text("not a photo")
    empty.write_bytes(b"")
    good.write_bytes(photo.read_bytes())
    out = tmp_path / "out"
    done = runtime(tiny_package, truncated, photo, text, empty, good, tmp_path / "absent.png", "-o", out)
    assert done.returncode == 1
    assert sorted(path.name for path in out.glob("[!.]*")) == ["b.png", "dark.png"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    tail = done.stderr.splitlines()[-6:]
    assert tail[0].startswith("2 of 6 photos done, 4 failed in ")
    assert tail[1] == "failed:"
    tail = tail[1:]
    assert [Path(line.strip()).name for line in tail[1:]] == ["cut.png", "text.jpg", "empty.bmp", "absent.png"]


def test_one_bad_photo_is_exit_2(tiny_package, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"GIF89a")
    out = tmp_path / "out.png"
    one_error_line(runtime(tiny_package, bad, "-o", out), "bad.png")
    assert not out.exists()


def test_output_is_never_written_over_without_asking(tiny_package, photo, tmp_path):
    before = photo.read_bytes()
    one_error_line(runtime(tiny_package, photo, "-o", photo), "--overwrite")
    one_error_line(runtime(tiny_package, photo, "-o", tmp_path), "--overwrite")
    assert photo.read_bytes() == before
    assert runtime(tiny_package, photo, "-o", photo, "--overwrite").returncode == 0
    assert photo.read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["PACKAGE"]),
        (["PKG"], ["no INPUT"]),
        (["PKG", "PHOTO"], ["-o OUT"]),
        (["PKG", "PHOTO", "-o", "x.png", "--steps", "7"], ["does not divide 200"]),
        (["PKG", "PHOTO", "-o", "x.png", "--steps", "many"], ["--steps"]),
        (["PKG", "PHOTO", "-o", "x.png", "--seed", "-1"], ["seed"]),
        (["PKG", "PHOTO", "-o", "x.png", "--backend", "warp"], ["warp", "onnxruntime"]),
        (["PKG", "PHOTO", "-o", "x.png", "--provider", "Quantum"], ["QuantumExecutionProvider"]),
        (["absent", "missing.jpg", "-o", "x.jpg"], ["cannot read missing.jpg"]),
        (["absent", "PHOTO", "-o", "x.gif"], ["x.gif", ".png"]),
        (["PKG", "PHOTO", "-o", "absent-folder/x.png"], ["absent-folder"]),
        (["absent", "PHOTO", "-o", "x.png"], ["absent", "export.build"]),
        (["PHOTO", "PHOTO", "-o", "x.png"], ["dark.png", "a package is a directory"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_line_and_exit_2(tiny_package, photo, arguments, words):
    named = {"PKG": str(tiny_package), "PHOTO": str(photo)}
    one_error_line(runtime(*[named.get(argument, argument) for argument in arguments]), *words)


def test_a_folder_that_cannot_be_made(tiny_package, photo, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    one_error_line(runtime(tiny_package, photo, photo.parent / "b.png", "-o", blocker / "out"), "folder")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_run_leaves_nothing_half_written(tiny_package, photo, tmp_path, stop):
    """A real process, ended in the middle of a list that is too long to come to its end meanwhile."""
    photos, out = [tmp_path / f"p{index}.png" for index in range(2000)], tmp_path / "out"
    for path in photos:
        path.symlink_to(photo)

    def heed() -> None:  # this process may run under nohup, or in a shell's background
        signal.signal(stop, signal.SIG_DFL)

    command = [sys.executable, "-m", "runtime", str(tiny_package), *map(str, photos), "-o", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    while not (out.is_dir() and any(path.suffix == ".png" for path in out.iterdir())):
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(stop)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + stop
    # a log hears of a long count now and then
    lines = [line for line in stderr.splitlines() if " left  " not in line]
    assert " of 2000 photos done in " in lines[0]
    assert lines[1:] == [
        "The same command with --skip-existing goes on from here.",
        "error: interrupted; nothing half-written is left behind.",
    ]
    written = [path for path in out.iterdir() if path.name != NAME]
    assert 1 <= len(written) < len(photos)
    for path in written:
        assert path.suffix == ".png"
        assert not path.name.startswith(".")
        Image.open(path).load()


def test_progress_bar_in_a_terminal_only(tiny_package, photo, tmp_path):
    second = tmp_path / "second.png"
    second.write_bytes(photo.read_bytes())
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "runtime", str(tiny_package), str(photo), str(second), "-o", str(tmp_path / "o")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(controller, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    assert process.wait(timeout=60) == 0
    assert b"0/2" in shown
    assert b"1/2" in shown
    assert b"second.png" in shown


def test_self_test_command(tiny_package):
    done = runtime(tiny_package, "--self-test")
    assert done.returncode == 0
    assert "self-test passed" in done.stdout
