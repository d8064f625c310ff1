"""A probe in a process of its own: a provider's native libraries may crash or hang the process that loads them."""

from __future__ import annotations

import json
import re
import signal
import sys
import tempfile
from subprocess import DEVNULL, STDOUT, TimeoutExpired, run
from typing import Any

TIMEOUT_S = 60.0  # generous: the first use of a GPU library reads gigabytes from the disk
NVIDIA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
# The parent's sys.path goes along: the child then sees the very same libraries, and this module.
_CHILD = "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
_CHILD += "importlib.import_module(sys.argv[2]).probe(*sys.argv[3:])"
MARK = "doctor-probe:"


def run_probe(kind: str, *arguments: str, timeout_s: float | None = None) -> dict[str, Any]:
    """What ``probe(kind, *arguments)`` finds in a fresh process. ``error`` is among it after an error, a crash or a
    hang, and says how it ended; ``ran`` says how the test graph did. timeout_s: what is a hang (default: TIMEOUT_S)."""
    limit = TIMEOUT_S if timeout_s is None else timeout_s
    words = [sys.executable, "-c", _CHILD, json.dumps(sys.path), f"{__package__}.probes", kind, *arguments]
    with tempfile.TemporaryFile("w+", errors="replace") as output:  # a pipe would be held open by grandchildren
        try:
            done = run(words, stdin=DEVNULL, stdout=output, stderr=STDOUT, timeout=limit)
        except TimeoutExpired:
            return {"error": f"hangs: no answer in {limit:g} s"}
        output.seek(0)
        text = output.read()
    found: dict[str, Any] = {}
    if MARK in text:
        found = json.JSONDecoder().raw_decode(text.rpartition(MARK)[2])[0]
    if done.returncode < 0:
        after = " after it had run" if found and "error" not in found else ""
        number = -done.returncode
        name = next((one.name for one in signal.Signals if one == number), f"signal {number}")
        found["error"] = f"crashes the process{after} ({name})"
    elif done.returncode or not found:
        said = " ".join(text.split())[-200:]
        found["error"] = f"ends the process with exit code {done.returncode}: {said}"
    missing = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file", text)
    if "error" in found and missing:
        found["error"] += f" ({missing[1]} is not found)"
    return found
