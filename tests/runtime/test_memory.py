"""A long run keeps no more than its first photos needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
import numpy as np
from runtime import Enhancer

def resident_mib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 2**20

generator = np.random.default_rng(0)
sizes = [(240, 180), (180, 240), (96, 300), (200, 200), (64, 64)]
with Enhancer.open(sys.argv[1]) as enhancer:
    for count in range(200):
        height, width = sizes[count % len(sizes)]
        height -= int(generator.integers(0, 60)) if count > 10 else 0
        enhancer(generator.integers(0, 60, (height, width, 3), dtype=np.uint8), steps=1)
        if count in (9, 199):
            print(resident_mib())
"""


def test_memory_is_flat_after_the_tenth_of_200_photos(tiny_package):
    root = Path(__file__).parent.parent.parent
    command = [sys.executable, "-c", SCRIPT, str(tiny_package)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=200)
    tenth, last = map(float, done.stdout.split())
    assert last < tenth + 40, f"resident memory grew from {tenth:.0f} to {last:.0f} MiB"
