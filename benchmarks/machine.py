"""What this machine is: the part that a result cannot be compared without, and the part that changes by itself."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = ("numpy", "onnx", "torch")  # beside those that runtime.machine.host knows
_CLOCKS = {
    "cpu_khz": "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
    "cpu_governor": "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
}


def fingerprint() -> dict[str, Any]:
    """What a record must share with its neighbours: hardware, driver, power mode, and versions of every library that
    computes. ``gpu`` and ``power_mode`` are None where there is none."""
    from dataclasses import asdict

    from runtime.machine.gpu import current_gpu, is_jetson
    from runtime.machine.host import describe, installed_libraries
    from runtime.names import __version__

    here, gpu = describe(), current_gpu()
    versions = installed_libraries()
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "platform": here["platform"],
        "processor": here["processor"],
        "features": here["features"],
        "cores_used": here["usable_cores"],
        "memory_mib": here["memory_mib"],
        "gpu": None if gpu is None else {**asdict(gpu), "driver": driver_version()},
        "power_mode": power_mode() if is_jetson() else None,
        "python": here["python"],
        "diffll": __version__,
        "libraries": dict(sorted(versions.items())),
    }


def moment(root: Path = Path("/")) -> dict[str, Any]:
    """What changes by itself: load average of the last minute, clocks (the GPU's too on a Jetson), temperatures."""
    found: dict[str, Any] = {"load": round(os.getloadavg()[0], 2)}
    for name, path in _clock_files(root):
        try:
            text = path.read_text().strip()
        except OSError:  # a kernel without it, or one that tells it to root alone
            continue
        found[name] = int(text) if text.isdigit() else text
    return found


def _clock_files(root: Path) -> Iterator[tuple[str, Path]]:
    for name, place in _CLOCKS.items():
        yield name, root / place
    for folder in sorted((root / "sys/class/devfreq").glob("*gpu*")):
        yield "gpu_hz", folder / "cur_freq"


def driver_version(proc: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """Of NVIDIA's kernel driver, such as "570.124.06"."""
    try:
        text = proc.read_text()
    except OSError:
        return None
    match = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", text)
    return match[0] if match else None


def power_mode() -> str | None:
    """Of a Jetson, as ``nvpmodel -q`` prints it, such as "MAXN"; None where it cannot be asked."""
    try:
        done = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return None
    match = re.search(r"Power Mode: *(\S.*)", done.stdout)
    return match[1].strip() if match else None


def words(found: dict[str, Any]) -> str:
    """One line for a person: of a ``fingerprint``."""
    gpu = found["gpu"]
    device = f"{gpu['name']}, driver {gpu['driver']}, CUDA {gpu['driver_cuda']}; " if gpu else ""
    power = f", power mode {found['power_mode']}" if found["power_mode"] else ""
    processor = found["processor"] or platform.machine()
    memory = "" if found["memory_mib"] is None else f", {found['memory_mib']:,} MiB"
    return f"{device}{processor}, {found['cores_used']} cores used{memory}{power}"
