"""A long run keeps no more than its first photos needed, on every backend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import numpy as np
from runtime import Enhancer

def resident_mib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 2**20

generator = np.random.default_rng(0)
sizes = [(200, 150), (150, 200), (96, 250), (160, 160), (64, 64)]
with Enhancer.open(sys.argv[1], backend=sys.argv[2]) as enhancer:
    for count in range(120):
        height, width = sizes[count % len(sizes)]
        height -= int(generator.integers(0, 60)) if count > 10 else 0
        enhancer(generator.integers(0, 60, (height, width, 3), dtype=np.uint8), steps=1)
        if count in (39, 119):
            print(resident_mib())
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "ncnn"])
def test_memory_is_flat_over_120_photos_of_alternating_sizes(ready_package, backend):
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", SCRIPT, str(ready_package), backend]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=200)
    early, last = map(float, done.stdout.split())
    assert last < early + 40, f"resident memory grew from {early:.0f} to {last:.0f} MiB"
