"""The engines' libraries, each under the name that pip knows: is it here, load it, and what to type if it is not."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

from ..errors import BackendUnavailableError, one_line
from ..machine import gpu
from ..machine.cores import default_environment

_LIBRARIES = {"cuda": "onnxruntime"}
_NO_ENGINES = ("onnxruntime", "openvino")  # backends that run a package as it comes
_TOLD = {
    # Read as it is loaded: without it, it keeps a device id in ~/.cache and calls mobile.events.data.microsoft.com.
    "onnxruntime": ("ORT_DISABLE_TELEMETRY", "1"),
    # Read as it is loaded by the OpenMP library inside its wheel, whose threads spin while they wait: with its own
    # default a photo took up to 7 times as long beside one busy process on two cores, with this 2 times, and 5 % more
    # on an idle machine.
    "ncnn": ("GOMP_SPINCOUNT", "2000"),
}
"""Library -> a variable of the environment, unless the user has set it."""
_REPORTER = {"openvino": "openvino_telemetry"}
"""Library -> the module with which it reports its use, and without which it runs as well. OpenVINO has no other switch
than a file in the user's ~/intel, which is not ours."""
_OF_CUDA_12 = {
    "tensorrt": "tensorrt-cu12",
    "tensorrt-rtx": "tensorrt-rtx-cu12",
    "onnxruntime-gpu": '"onnxruntime-gpu[cuda,cudnn]<1.27"',
}


def library_of(target: str) -> str:
    """What runs the engines of a target: the library of its name, but for ``cuda``."""
    return _LIBRARIES.get(target, target)


def module_name(library: str) -> str:
    """What is imported: ``tensorrt_rtx`` for ``tensorrt-rtx``."""
    return library.replace("-", "_")


def installed(library: str) -> bool:
    """Whether the library can be found. It is not imported."""
    try:
        return importlib.util.find_spec(module_name(library)) is not None
    except (ImportError, ValueError):
        return False


def wheel_of(library: str, here: gpu.Gpu | None) -> str:
    """What to give pip for a library that the driver of this GPU can run: by the plain name come builds for CUDA 13."""
    if here is not None and here.cuda < 13 and library in _OF_CUDA_12:
        return _OF_CUDA_12[library]
    return '"onnxruntime-gpu[cuda,cudnn]"' if library == "onnxruntime-gpu" else library


def install_line(library: str, *, again: bool = False) -> str:
    """The line to type. again: over an installation that does not work."""
    if library == "tensorrt" and gpu.is_jetson():
        return f"sudo apt install {'--reinstall ' if again else ''}python3-libnvinfer-dev"
    return f"pip install {'--force-reinstall ' if again else ''}{wheel_of(library, gpu.current_gpu())}"


def advice(library: str, *, again: bool = False) -> str:
    """``install_line`` as a sentence of an error, with what else this machine needs."""
    line = f"`{install_line(library, again=again)}`"
    if library == "tensorrt" and gpu.is_jetson():
        see = "the environment has to see it: `python3 -m venv --system-site-packages`"
        return f"On a Jetson it comes from apt: {line}, and {see}."
    if library in ("tensorrt", "tensorrt-rtx") and platform.system() not in ("Linux", "Windows"):
        return f"There is no {library} for {platform.system()}; use Linux or Windows."
    return f"{line}."


def instead_of(backend: str, backends: Iterable[str]) -> str:
    """Where this backend's library does not load: a sentence with the options that ask for those of ``backends`` that
    are installed. Empty where there are none, or where the library is loaded and something else is missing."""
    if module_name(backend) in sys.modules:
        return ""
    others = [name for name in backends if name not in (backend, "auto") and installed(name)]
    here = [name for name in others if not name.startswith("tensorrt") or gpu.current_gpu() is not None]
    built = " (its engines are built first, by `python -m export.engine`)"
    options = ", ".join(f"`--backend {name}`" + ("" if name in _NO_ENGINES else built) for name in here)
    return f'Or use what is installed here: {options}; in Python backend="{here[0]}".' if here else ""


@contextmanager
def loading(library: str, user: str | None = None) -> Iterator[None]:
    """Import ``library`` inside, and nowhere else: it then calls nobody and writes nothing into the user's home.

    user: who needs it, such as "the backend ncnn". With it, raises BackendUnavailableError where the import fails.
    """
    with ExitStack() as stack:
        if library in _TOLD:
            stack.enter_context(default_environment(*_TOLD[library]))
        if library in _REPORTER:
            stack.enter_context(_absent(_REPORTER[library]))
        try:
            yield
        except (ImportError, OSError) as error:
            if user is None:
                raise
            raise unavailable(library, user, error) from error


@contextmanager
def _absent(module: str) -> Iterator[None]:
    """Inside, importing ``module`` fails as if it were not installed."""
    modules: dict[str, Any] = sys.modules
    before = {name: modules[name] for name in (module,) if name in modules}
    modules[module] = None
    try:
        yield
    finally:
        del modules[module]
        modules.update(before)


def load(library: str, user: str) -> ModuleType:
    """The module. user: who needs it, such as "the backend ncnn". Raises BackendUnavailableError."""
    with loading(library, user):
        module = importlib.import_module(module_name(library))
    if library in ("tensorrt", "tensorrt-rtx") and not hasattr(module, "Runtime"):  # a folder of type stubs alone
        raise unavailable(library, user)
    return module


def unavailable(library: str, user: str, error: Exception | None = None) -> BackendUnavailableError:
    """What to raise where importing the library ended with ``error``; None: it is not installed."""
    name = module_name(library)
    if error is None or (isinstance(error, ModuleNotFoundError) and error.name == name):
        return BackendUnavailableError(f"{name} is not installed, which {user} needs. {advice(library)}")
    reason, cure = one_line(error, 200), advice(library, again=True)
    return BackendUnavailableError(f"{name}, which {user} needs, is installed and does not load ({reason}). {cure}")


def is_server_build(library: str, file: object) -> bool:
    """Whether this is pip's TensorRT for Arm servers on a Jetson, whose own comes from apt. file: the module's."""
    return library == "tensorrt" and gpu.is_jetson() and "dist-packages" not in str(file)
