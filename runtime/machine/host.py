"""What this machine is and has: processor, memory, NVIDIA devices, and the libraries that are installed."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from .cores import is_x86, usable_cores
from .gpu import is_jetson

_CGROUP = Path("/sys/fs/cgroup")
# All of these install the one folder `onnxruntime`: the last one wins, and uninstalling one breaks the others.
ONNXRUNTIME_WHEELS = tuple(
    "onnxruntime" + suffix
    for suffix in ("", "-gpu", "-openvino", "-directml", "-qnn", "-rocm", "-migraphx", "-training", "-cann", "-vitisai")
)
_LIBRARIES = ("numpy", "pillow", *ONNXRUNTIME_WHEELS, "openvino", "tensorrt", "tensorrt-rtx", "ncnn")
_X86_FEATURES = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("avx_vnni", "amx_tile", "amx_bf16", "amx_int8"),
)
_ARM_FEATURES = ("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve")


def describe() -> dict[str, Any]:
    """The machine as the doctor's ``--json`` and the benchmarks' records tell it; its keys are listed there."""
    processor, flags = read_cpuinfo()
    wanted = (_X86_FEATURES if is_x86() else _ARM_FEATURES) if flags else ()
    return {
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "jetson": is_jetson(),
        "processor": processor or platform.processor(),
        "features": [name for name in wanted if name in flags],
        "features_missing": [name for name in wanted if name not in flags],
        "usable_cores": usable_cores(),
        "memory_mib": memory_mib(),
    }


def read_cpuinfo(path: Path = Path("/proc/cpuinfo")) -> tuple[str, set[str]]:
    """(the processor's name, its feature flags) of the first core; empty where Linux does not tell."""
    name, flags = (_found(path, rf"^(?:{field})\s*: (.+)$") for field in ("model name", "flags|Features"))
    return name.strip(), set(flags.split())


def memory_mib() -> int | None:
    """The machine's memory, or the container's limit (cgroup v2) where that is less; None where it is not told."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    with suppress(OSError, ValueError):  # no cgroup v2, or "max": no limit
        memory = min(memory, int((_CGROUP / "memory.max").read_text()))
    return memory >> 20


def free_memory_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> int | None:
    """What a process may still take without swapping: the machine's, or what the container's limit (cgroup v2)
    leaves; None where it is not told."""
    available = _found(meminfo, r"^MemAvailable:\s*(\d+) kB")
    if not available:
        return None
    free = int(available) << 10
    with suppress(OSError, ValueError):  # no cgroup v2, or "max": no limit
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        # files that were read are kept, and count as used, until somebody needs the memory
        reclaimable = int(_found(cgroup / "memory.stat", r"^inactive_file (\d+)$") or 0)
        free = min(free, limit - used + reclaimable)
    return max(free, 0)


def resident_bytes(statm: str = "/proc/self/statm") -> int | None:
    """What this process holds in memory now; None where it is not told. Asked at every photo: in microseconds."""
    try:
        with open(statm, "rb", buffering=0) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _found(path: Path, pattern: str) -> str:
    """What ``pattern`` finds in a table of the kernel's; empty where it is not told."""
    try:
        match = re.search(pattern, path.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return ""
    return match[1] if match else ""


def nvidia_devices() -> bool:
    """Whether the PCI bus shows an NVIDIA display or 3D controller, with or without a driver."""
    devices = Path("/sys/bus/pci/devices").glob("*")
    return any(_found(one / "vendor", "^(0x10de)$") and _found(one / "class", "^(0x03)") for one in devices)


def installed_libraries() -> dict[str, str]:
    """Distribution -> version of everything that the runtime may use. Reads metadata, imports nothing."""
    from importlib.metadata import distributions

    found: dict[str, str] = {}
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        found.setdefault(name, distribution.version)  # the first on sys.path is the one that is imported
    return {name: found[name] for name in _LIBRARIES if name in found}
