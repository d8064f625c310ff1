"""What this machine has: free memory, and what this process takes of it."""

from __future__ import annotations

import re
from pathlib import Path


def free_memory_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a process may still take without swapping: the machine's, or what the container's limit (cgroup v2)
    leaves; None where it is not told."""
    try:
        match = re.search(r"^MemAvailable: *(\d+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:
        return None
    if match is None:
        return None
    free = int(match[1]) << 10
    try:
        limit, used = (cgroup / "memory.max").read_text(), (cgroup / "memory.current").read_text()
        free = min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        pass
    return max(free, 0)


def resident_bytes(status: Path = Path("/proc/self/status")) -> int | None:
    """What this process holds in memory now; None where it is not told."""
    try:
        match = re.search(r"^VmRSS:\s*(\d+) kB", status.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) << 10 if match else None
