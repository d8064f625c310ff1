"""Memory of the GPU, asked of NVIDIA's management library by address: no package needed."""

from __future__ import annotations

import ctypes
import os
import threading

_EVERY_S = 0.002


class _Memory(ctypes.Structure):  # nvmlMemory_t of nvml.h
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class DeviceMemory:
    """The GPU's used bytes, sampled from another thread between ``start`` and ``stop``.

    ``here`` is False where the library or a GPU is missing (NVIDIA gives it on a Jetson from JetPack 7 on). The whole
    GPU is asked, not this process: nobody else may work on it meanwhile.
    """

    def __init__(self, library: str = "libnvidia-ml.so.1") -> None:
        self.here = False
        self._peak = self._before = 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._nvml = ctypes.CDLL(library)
        except OSError:
            return
        self._device = ctypes.c_void_p()
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        index = int(first) if first.isdigit() else 0
        if not self._nvml.nvmlInit_v2():
            self.here = not self._nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(self._device))

    def used(self) -> int:
        """In bytes, by everyone."""
        memory = _Memory()
        self._nvml.nvmlDeviceGetMemoryInfo(self._device, ctypes.byref(memory))
        return int(memory.used)

    def free(self) -> int:
        """In bytes."""
        memory = _Memory()
        self._nvml.nvmlDeviceGetMemoryInfo(self._device, ctypes.byref(memory))
        return int(memory.free)

    def start(self) -> None:
        """Take what is used now as zero, and sample."""
        if not self.here:
            return
        self._before = self._peak = self.used()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int | None:
        """The most that was used since ``start``, in bytes; None where it cannot be told."""
        if self._thread is None:
            return None
        self._done.set()
        self._thread.join()
        self._peak = max(self._peak, self.used())
        return self._peak - self._before

    def _sample(self) -> None:
        while not self._done.wait(_EVERY_S):
            self._peak = max(self._peak, self.used())
