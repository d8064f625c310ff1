"""TensorRT and TensorRT-RTX, two libraries with one Python API: imported when asked for, or a cure."""

from __future__ import annotations

import logging
import re
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any

from ...engines.libraries import load, module_name
from ...errors import BackendUnavailableError, EngineError, OutOfMemoryError, out_of_memory
from ...machine.gpu import Gpu, current_gpu, is_jetson

_ERRORS_KEPT = 4
_log = logging.getLogger(__name__)


class Library:
    """One of the two, for this machine's GPU. target: its name as a backend and for ``export.engine``."""

    def __init__(self, target: str) -> None:
        gpu = current_gpu()
        if gpu is None:  # asked first: the library alone takes seconds to load
            cure = (
                "on this Jetson. The driver belongs to JetPack (`sudo apt install nvidia-jetpack`); a container is "
                "started with `--runtime nvidia`."
                if is_jetson()
                else "here. `nvidia-smi` tells whether the driver runs; a container is started with `--gpus all`. "
                "Without a GPU use the backend onnxruntime."
            )
            raise BackendUnavailableError(f"the backend {target} needs an NVIDIA GPU: CUDA shows none {cure}")
        self.gpu: Gpu = gpu
        self.target = target
        self.trt: Any = load(target, f"the backend {target}")
        self.version = str(self.trt.__version__)
        self.rtx = target == "tensorrt-rtx"
        self.log = log_of(self.trt)

    def failure(self, what: str, cure: str) -> EngineError:
        """An error with the library's own last words, which are forgotten then. what: "could not ..."."""
        words = " | ".join(" ".join(line.split()) for line in self.log.errors)[-500:] or "it gave no reason"
        self.log.errors.clear()
        failure = OutOfMemoryError if out_of_memory(words) else EngineError
        return failure(f"{module_name(self.target)} {self.version} {what}: {words}. {cure}")


@cache
def log_of(library: Any) -> Any:
    """The logger of ``library``, one a process, as the library wants it. It hands everything to ``logging`` and keeps
    the last ``errors`` and, of a build, the ``figures``: "Total Activation Memory" and the like -> bytes."""

    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = library

    kinds = trt.ILogger.Severity

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: deque[str] = deque(maxlen=_ERRORS_KEPT)
            self.figures: dict[str, int] = {}

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity == kinds.VERBOSE:
                return
            if severity in (kinds.INTERNAL_ERROR, kinds.ERROR):
                self.errors.append(msg)  # it comes back as an exception
            elif match := re.search(r"(Total \w+ Memory): (\d+) bytes", msg):
                self.figures.setdefault(match[1], int(match[2]))
            # of warnings a healthy engine gives several
            _log.log(logging.INFO if severity == kinds.WARNING else logging.DEBUG, "%s", msg)

    return Log()
