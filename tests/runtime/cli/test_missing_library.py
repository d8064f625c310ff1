"""A Python without our libraries: each command says in one line what to install."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("runtime {package} assets/sample.png -o {out}", "onnxruntime"),
        ("runtime.plan {package} 64x48", "onnxruntime"),
        ("runtime.video {package} clip.mp4 -o {out}", "onnxruntime"),
        ("export.build -o {out}", "export"),
        ("export.engine {package} --target ncnn", "export"),
        ("calibration {package} assets/sample.png -o {out}", "calibration"),
        ("calibration.sampling {package} assets/sample.png -o {out}", "calibration"),
        ("serving {package}", "serving"),
        ("benchmarks {package}", "benchmarks"),
        ("training assets -o {out}.pth --darken --iterations 1", "export"),
    ],
)
def test_a_missing_library_is_one_line_with_the_install(tiny_package, tmp_path, words, extra):
    command = [word.format(package=tiny_package, out=tmp_path / "out") for word in words.split()]
    # -S: no site-packages, as in a Python that nothing was installed for
    done = subprocess.run([sys.executable, "-S", "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.match("error: (numpy|onnx|torch|uvicorn) is not installed for ", last)
    assert f"-m pip install '.[{extra}]' -c constraints.txt`." in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
