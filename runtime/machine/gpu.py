"""Which NVIDIA GPU is here, asked of the driver itself: no CUDA toolkit and no package needed."""

from __future__ import annotations

import ctypes
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18  # CUdevice_attribute of cuda.h


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU and its driver."""

    name: str
    compute_capability: str
    """Such as "8.9"."""
    integrated: bool
    """Shares the host's memory, as on a Jetson."""
    driver_cuda: str
    """The newest CUDA that the driver speaks, such as "13.0"."""

    @property
    def cuda(self) -> int:
        """Its major version."""
        return int(self.driver_cuda.split(".")[0])


def is_jetson() -> bool:
    """Whether this is a Jetson board, whose TensorRT comes from apt."""
    return Path("/etc/nv_tegra_release").exists() or "tegra" in platform.release().lower()


def _driver() -> tuple[ctypes.CDLL, ctypes.c_int] | None:
    """The driver, and the number of the first GPU that it shows this process."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    device = ctypes.c_int()
    return None if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0) else (cuda, device)


def free_gpu_bytes() -> int | None:
    """Free memory of the first GPU that CUDA shows this process, or None where there is none. Makes its CUDA context,
    which an engine on it needs anyway."""
    if (found := _driver()) is None:
        return None
    (cuda, device), context = found, ctypes.c_void_p()
    if cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    try:
        if cuda.cuCtxPushCurrent_v2(context):
            return None
        failed = cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        cuda.cuCtxPopCurrent_v2(ctypes.byref(context))
        return None if failed else free.value
    finally:
        cuda.cuDevicePrimaryCtxRelease_v2(device)


def pci_bus_id() -> str | None:
    """Where the first GPU that CUDA shows this process sits, such as "0000:1B:00.0", or None where there is none.
    NVIDIA's management library counts GPUs in another order than CUDA, and knows nothing of CUDA_VISIBLE_DEVICES."""
    if (found := _driver()) is None:
        return None
    (cuda, device), place = found, ctypes.create_string_buffer(64)
    failed = cuda.cuDeviceGetPCIBusId(place, len(place), device)
    return None if failed else place.value.decode()


def current_gpu() -> Gpu | None:
    """The first GPU that CUDA shows this process, or None where there is no driver or no device."""
    if (found := _driver()) is None:
        return None
    (cuda, device), version = found, ctypes.c_int()
    if cuda.cuDriverGetVersion(ctypes.byref(version)):
        return None
    name = ctypes.create_string_buffer(256)
    if cuda.cuDeviceGetName(name, len(name), device):
        return None

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        return 0 if cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device) else value.value

    return Gpu(
        name.value.decode(errors="replace"),
        f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        bool(attribute(_INTEGRATED)),
        f"{version.value // 1000}.{version.value % 1000 // 10}",
    )
