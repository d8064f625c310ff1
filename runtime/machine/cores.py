"""How many processor cores this process may really use, and what engines are told about threads as they are loaded."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """At least 1: the process's affinity, and no more than a container's CPU quota (cgroup v2) allows.

    More threads than cores is worse than fewer: engines' threads spin while they wait for each other.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP_V2.read_text().split()
        allowed = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroup v2, or "max": no quota
        allowed = affinity
    return max(1, min(affinity, allowed))


@contextmanager
def default_environment(name: str, value: str) -> Iterator[None]:
    """The environment variable ``name`` is ``value`` inside, unless the user has set it, and gone afterwards."""
    ours = name not in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if ours:
            del os.environ[name]


def is_x86() -> bool:
    """Whether this process runs on a 64-bit x86 processor."""
    return platform.machine().lower() in ("x86_64", "amd64")
