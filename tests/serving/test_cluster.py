"""What an actor of a cluster does with rows. `bash tests/cluster.sh` has the cluster itself: Ray is not in this
environment."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.photo import read_photo
from serving.cluster.actor import Photos

ROOT = Path(__file__).parents[2]


def test_rows_come_back_and_files_are_whole(served_package, enhancer, dark, png, tmp_path):
    (tmp_path / "dark.png").write_bytes(png)
    (tmp_path / "bad.png").write_bytes(b"no photo")
    files = {path.name: path.read_bytes() for path in served_package.iterdir() if path.is_file()}
    out = tmp_path / "out" / "folder"
    names = ["dark.png", "bad.png", "none.png"]
    rows = {
        "input": np.array([str(tmp_path / name) for name in names]),
        "output": np.array([str(out / name) for name in names]),
        "root": np.array([str(tmp_path / "out")] * 3),
        "replaces": np.array([False] * 3),
    }
    actor = Photos(files, "onnxruntime", "fast")
    done = actor(rows)
    assert done["size"][0] == len(png)
    assert [bool(error) for error in done["error"]] == [False, True, True]
    assert "not a known photo" in done["error"][1]
    assert [path.name for path in out.iterdir()] == ["dark.png"]
    np.testing.assert_array_equal(read_photo(out / "dark.png").pixels, enhancer(dark, sampling="fast"))

    written = (out / "dark.png").stat().st_mtime_ns
    assert actor(rows)["error"][0] == ""  # as after an actor that died when it had written
    assert (out / "dark.png").stat().st_mtime_ns == written
    rows["replaces"][:] = True
    assert actor(rows)["error"][0] == ""
    assert (out / "dark.png").stat().st_mtime_ns > written


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_the_command_names_the_extra(served_package, tmp_path):
    line = [sys.executable, "-m", "serving.cluster", str(served_package), "assets", "-o", str(tmp_path / "out")]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "'.[cluster]'" in done.stderr, done.stderr[:7]) == (2, True, "error: ")
    assert not (tmp_path / "out").exists()
