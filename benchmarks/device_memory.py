"""Memory of the GPU, asked of NVIDIA's management library by address: no package needed."""

from __future__ import annotations

import ctypes
import threading

_EVERY_S = 0.002


class _Memory(ctypes.Structure):  # nvmlMemory_t of nvml.h
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class DeviceMemory:
    """A GPU's used bytes, sampled from another thread between ``start`` and ``stop``.

    place: where the GPU sits, of ``pci_bus_id``. It is not asked for here: that loads CUDA's driver, whose memory and
    time would be the measured engine's.

    ``here`` is False where the library or a GPU is missing, or where the library does not tell (NVIDIA gives it on a
    Jetson from JetPack 7 on). The whole GPU is asked, not this process: nobody else may work on it meanwhile.
    """

    def __init__(self, place: str | None, library: str = "libnvidia-ml.so.1") -> None:
        self.here = False
        self._peak = self._before = 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._nvml = ctypes.CDLL(library)
        except OSError:
            return
        self._device = ctypes.c_void_p()
        if place is None or self._nvml.nvmlInit_v2():
            return
        if not self._nvml.nvmlDeviceGetHandleByPciBusId_v2(place.encode(), ctypes.byref(self._device)):
            self.here = self._memory() is not None

    def used(self) -> int | None:
        """In bytes, by everyone; None where it is not told."""
        memory = self._memory()
        return None if memory is None else int(memory.used)

    def free(self) -> int | None:
        """In bytes; None where it is not told."""
        memory = self._memory() if self.here else None
        return None if memory is None else int(memory.free)

    def start(self) -> None:
        """Take what is used now as zero, and sample."""
        before = self.used() if self.here else None
        if before is None:
            return
        self._before = self._peak = before
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int | None:
        """The most that was used since ``start``, in bytes; None where it cannot be told."""
        if self._thread is None:
            return None
        self._done.set()
        self._thread.join()
        self._peak = max(self._peak, self.used() or 0)
        return self._peak - self._before

    def _sample(self) -> None:
        while not self._done.wait(_EVERY_S):
            self._peak = max(self._peak, self.used() or 0)

    def _memory(self) -> _Memory | None:
        memory = _Memory()
        return None if self._nvml.nvmlDeviceGetMemoryInfo(self._device, ctypes.byref(memory)) else memory
