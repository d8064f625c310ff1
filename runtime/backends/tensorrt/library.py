"""TensorRT and TensorRT-RTX, two libraries with one Python API: imported when asked for, or a cure."""

from __future__ import annotations

import importlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from ...errors import BackendUnavailableError, EngineError, OutOfMemoryError, out_of_memory
from ...machine.gpu import Gpu, current_gpu, is_jetson

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_ERRORS_KEPT = 4
_log = logging.getLogger(__name__)


class Library:
    """One of the two, for this machine's GPU. target: its name as a backend and for ``export.engine``."""

    def __init__(self, target: str) -> None:
        gpu = current_gpu()
        if gpu is None:  # asked first: the library alone takes seconds to load
            raise BackendUnavailableError(f"the backend {target} needs an NVIDIA GPU: {_no_gpu()}")
        self.gpu: Gpu = gpu
        self.target = target
        self.trt = _load(target)
        self.version = str(self.trt.__version__)
        self.rtx = target == "tensorrt-rtx"
        self.log = _make_log(self.trt)

    def failure(self, what: str, cure: str) -> EngineError:
        """An error with the library's own last words, which are forgotten then. what: "could not ..."."""
        words = " | ".join(" ".join(line.split()) for line in self.log.errors)[-500:] or "it gave no reason"
        self.log.errors.clear()
        failure = OutOfMemoryError if out_of_memory(words) else EngineError
        return failure(f"{MODULES[self.target]} {self.version} {what}: {words}. {cure}")


def _no_gpu() -> str:
    if is_jetson():
        return (
            "CUDA shows none on this Jetson. The driver belongs to JetPack (`sudo apt install nvidia-jetpack`); a "
            "container is started with `--runtime nvidia`."
        )
    return (
        "CUDA shows none here. `nvidia-smi` tells whether the driver runs; a container is started with `--gpus all`. "
        "Without a GPU use the backend onnxruntime."
    )


def _load(target: str) -> Any:
    name = MODULES[target]
    try:
        library = importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise BackendUnavailableError(
            f"the backend {target} is not usable here ({' '.join(str(error).split())[:200]}); {_install(target)}"
        ) from error
    if not hasattr(library, "Runtime"):  # a namespace: type stubs alone are installed
        raise BackendUnavailableError(f"the backend {target}: {name} is not installed; {_install(target)}")
    return library


def _install(target: str) -> str:
    if target == "tensorrt" and is_jetson():
        return (
            "on a Jetson TensorRT comes from apt: `sudo apt install python3-libnvinfer-dev`, and the environment has "
            "to see it: `python3 -m venv --system-site-packages`."
        )
    return f"`pip install {target}`."


def _make_log(library: Any) -> Any:
    """A logger of ``library`` that keeps the last errors and hands everything to ``logging``."""

    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = library

    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.INFO,  # of those a healthy engine gives several
        severity.INFO: logging.DEBUG,
    }

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: deque[str] = deque(maxlen=_ERRORS_KEPT)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            level = levels.get(severity)
            if level == logging.ERROR:
                self.errors.append(msg)
                level = logging.DEBUG  # it comes back as an exception
            if level is not None:
                _log.log(level, "%s", msg)

    return Log()
