"""One run at a time keeps its state beside an output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cli.alone import only_run, state_folder
from runtime.errors import InputError

ROOT = Path(__file__).parent.parent.parent.parent


def test_a_second_run_with_the_same_output_is_refused(tmp_path, tiny_package):
    output = tmp_path / "out"
    words = [str(tiny_package), "assets/sample.png", "-o", str(output)]
    for command, kind in (("calibration", "calibration"), ("calibration.sampling", "sampling")):
        with only_run(output, kind):
            done = subprocess.run(
                [sys.executable, "-m", command, *words], cwd=ROOT, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 2
            assert done.stderr.startswith(f"error: {output}: another run makes it at the moment")
            assert state_folder(output, kind).is_dir()
    assert os.listdir(tmp_path) == []


def test_what_is_kept_stays_and_nothing_else(tmp_path):
    output = tmp_path / "new/folder/out"
    with only_run(output, "calibration"):
        (state_folder(output, "calibration") / "state.npz").write_bytes(b"")
    assert state_folder(output, "calibration").is_dir()
    with only_run(output, "sampling"):
        pass
    assert os.listdir(output.parent) == [".out.calibration"]


def test_the_folder_that_one_stands_in_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert state_folder(Path("."), "sampling") == tmp_path.with_name(f".{tmp_path.name}.sampling")


def test_a_place_that_cannot_be_written_is_named():
    with pytest.raises(InputError, match="cannot be made"), only_run(Path("/dev/null/out"), "sampling"):
        pass
