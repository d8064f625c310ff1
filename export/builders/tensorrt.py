"""ONNX graph -> serialized engine, with TensorRT 10.3 and up, TensorRT 11 and TensorRT-RTX, through Polygraphy.

Precision is in the graph (strong typing): asked for in TensorRT 10, always on in 11 and in TensorRT-RTX, so one code
path serves the three.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runtime.errors import BackendUnavailableError, EngineError, InputError
from runtime.machine.gpu import current_gpu, is_jetson

Target = Literal["tensorrt", "tensorrt-rtx"]
MODULES: dict[Target, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
OLDEST = (10, 3)
_READS_GROUP_NORM = (10, 9)
# Of cpu_forms and query_blocks, whose import would need onnx for every graph
FORMS = (b"/group_norm/", b"/attention/")


@dataclass(frozen=True)
class Options:
    """Builder options, all of them part of the engine's key.

    workspace_mib: scratch memory that tactics may take (None: the library's default). optimization_level: 0 to 5.
    hardware_compatibility: ``none``, ``ampere_plus`` or ``same_compute_capability`` (TensorRT).
    version_compatible: loads in later minor versions. stripped: without weights, to be refitted from the graph.
    compute_capabilities: TensorRT-RTX, the GPUs to build for (empty: all that it supports).
    """

    workspace_mib: int | None = None
    optimization_level: int | None = None
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    refittable: bool = False
    stripped: bool = False
    compute_capabilities: tuple[str, ...] = ()


class TensorRTBuilder:
    """Builds for one target on this machine. Making one checks everything that can be checked before a build.

    Raises BackendUnavailableError (library missing or too old) or InputError (GPU or option that the target does
    not support).
    """

    file = "engine.plan"

    def __init__(self, target: Target, options: Options) -> None:
        self.target: Target = target
        self.options = options
        self._rtx = target == "tensorrt-rtx"
        self._trt = _load_library(target)
        self._check_version()
        self._gpu = current_gpu()
        self._check_gpu()
        self._check_options()

    @property
    def environment(self) -> dict[str, str]:
        """What of this machine an engine depends on: part of the key."""
        found = {
            "library": f"{MODULES[self.target]} {self._trt.__version__}",
            "platform": f"{platform.system()} {platform.machine()}".lower(),
        }
        if self._rtx:
            found["gpu"] = " ".join(self.options.compute_capabilities) or "every GPU that TensorRT-RTX supports"
            found["memory"] = "given by the user"
        else:
            assert self._gpu is not None
            portable = {"none": f"{self._gpu.name}, {self._gpu.compute_capability}", "ampere_plus": "Ampere or newer"}
            found["gpu"] = portable.get(
                self.options.hardware_compatibility, f"compute capability {self._gpu.compute_capability}"
            )
        return found

    def build(
        self, graph: bytes, profile: Mapping[str, Any], timing_cache: Path
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """Engine files and the report of the build. profile: I/O tensor -> [min, opt, max] shapes.

        Raises EngineError with the library's own words.
        """
        from polygraphy.backend.trt import CreateConfig, EngineBytesFromNetwork, NetworkFromOnnxBytes, Profile
        from polygraphy.backend.trt.util import get_trt_logger
        from polygraphy.exception import PolygraphyException
        from polygraphy.logger import G_LOGGER

        log = _logger(self._trt)
        # the loaders take this one, and the report is read from it
        importlib.import_module(get_trt_logger.__module__).TRT_LOGGER = log  # type: ignore[attr-defined]
        G_LOGGER.module_severity = G_LOGGER.CRITICAL + 1  # ours is the error that is shown
        if any(mark in graph for mark in FORMS):  # a denoiser
            from ..passes.cpu_forms import restore

            graph = restore(graph)
        if not self._rtx and _version(self._trt) < _READS_GROUP_NORM:
            from ..passes.group_norm import rewrite_group_norm

            graph = rewrite_group_norm(graph)
        shapes = Profile()
        for tensor, (smallest, usual, largest) in profile.items():
            shapes.add(tensor, smallest, usual, largest)
        common = self._config_arguments(shapes)
        if self._rtx:
            from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

            targets = [tuple(map(int, one.split("."))) for one in self.options.compute_capabilities]
            create, cache = CreateConfigRTX(compute_capabilities=targets or None, **common), None

            def config(builder: Any, network: Any) -> Any:
                found = create(builder, network)
                # without it the runtime may allocate on its own, and cannot be captured into a CUDA graph
                found.set_flag(self._trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
                return found

        else:
            cache = str(timing_cache)
            config = CreateConfig(tf32=True, load_timing_cache=cache if timing_cache.exists() else None, **common)
        # TensorRT 11 has dropped the flag: there every network is strongly typed
        strongly_typed = hasattr(self._trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
        started = time.perf_counter()
        try:
            network = NetworkFromOnnxBytes(graph, strongly_typed=strongly_typed)
            plan = bytes(EngineBytesFromNetwork(network, config, save_timing_cache=cache)())
        except PolygraphyException as error:
            reason = " ".join(" ".join(log.errors[-3:] or [str(error)]).split())[:600]
            raise EngineError(
                f"{self.environment['library']} could not build the engine: {reason}. Try a smaller --max-size, more "
                "--workspace, or the versions of docs/engines.md."
            ) from error
        report = {
            "build_seconds": round(time.perf_counter() - started, 2),
            "engine_bytes": len(plan),
            "activation_bytes": log.figure("Total Activation Memory"),
            "weights_bytes": log.figure("Total Weights Memory"),
        }
        return {self.file: plan}, report

    def _config_arguments(self, shapes: Any) -> dict[str, Any]:
        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = self._trt
        options = self.options
        arguments: dict[str, Any] = {
            "profiles": [shapes],
            "builder_optimization_level": options.optimization_level,
            "version_compatible": options.version_compatible,
            "refittable": options.refittable or options.stripped,
            "strip_plan": options.stripped,
        }
        if options.workspace_mib is not None:
            arguments["memory_pool_limits"] = {trt.MemoryPoolType.WORKSPACE: options.workspace_mib << 20}
        if options.hardware_compatibility != "none":
            level = getattr(trt.HardwareCompatibilityLevel, options.hardware_compatibility.upper())
            arguments["hardware_compatibility_level"] = level
        return arguments

    def _check_version(self) -> None:
        if not self._rtx and _version(self._trt) < OLDEST:
            raise BackendUnavailableError(
                f"TensorRT {self._trt.__version__} is here; {OLDEST[0]}.{OLDEST[1]} or newer is needed (JetPack 6.2 "
                "has 10.3, a server takes `pip install tensorrt`)."
            )

    def _check_gpu(self) -> None:
        options, gpu = self.options, self._gpu
        if not self._rtx:
            if gpu is None:
                raise BackendUnavailableError(
                    "TensorRT builds on the GPU that it builds for, and none is visible here (nvidia-smi?). "
                    "`--target tensorrt-rtx` builds without one."
                )
            return
        supported = rtx_capabilities(self._trt)
        unknown = [one for one in options.compute_capabilities if one not in supported]
        if unknown:
            raise InputError(
                f"compute capability {unknown[0]} is not one of TensorRT-RTX {self._trt.__version__} "
                f"({', '.join(supported)}). Hopper (9.0) and Orin (8.7) take `--target tensorrt`."
            )
        if gpu is not None and not options.compute_capabilities and gpu.compute_capability not in supported:
            raise InputError(
                f"TensorRT-RTX {self._trt.__version__} does not support this machine's {gpu.name} (compute capability "
                f"{gpu.compute_capability}; it supports {', '.join(supported)}). Use `--target tensorrt`, or "
                "`--compute-capability 8.9` to build for another machine."
            )

    def _check_options(self) -> None:
        options = self.options
        if self._rtx and options.hardware_compatibility != "none":
            raise InputError(
                "--hardware-compatibility is TensorRT's: a TensorRT-RTX engine runs on every RTX GPU. Leave it out."
            )
        if not self._rtx and options.compute_capabilities:
            raise InputError("--compute-capability is TensorRT-RTX's: TensorRT builds for this machine's GPU.")


def rtx_capabilities(library: Any) -> list[str]:
    """The compute capabilities that this TensorRT-RTX builds for, such as ["7.5", "8.0", ...]."""
    names = [name for name in dir(library.ComputeCapability) if re.fullmatch(r"SM\d+", name)]
    return [f"{name[2:-1]}.{name[-1]}" for name in sorted(names, key=lambda name: int(name[2:]))]


def _version(library: Any) -> tuple[int, int]:
    major, minor = library.__version__.split(".")[:2]
    return int(major), int(minor)


def _load_library(target: Target) -> Any:
    name = MODULES[target]
    if target == "tensorrt-rtx":
        os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"  # read when Polygraphy is imported
    for needed in (name, "polygraphy"):
        if importlib.util.find_spec(needed) is None:
            raise BackendUnavailableError(f"{needed} is not installed, which --target {target} needs. {_cure(needed)}")
    try:
        library = importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise BackendUnavailableError(
            f"{name} is installed and does not load ({' '.join(str(error).split())[:200]}). {_cure(name)}"
        ) from error
    if not hasattr(library, "Builder"):  # a namespace: type stubs alone are installed
        raise BackendUnavailableError(f"{name} is not installed, which --target {target} needs. {_cure(name)}")
    if target == "tensorrt" and is_jetson() and "dist-packages" not in str(library.__file__):
        print(
            f"warning: tensorrt comes from {library.__file__}, not from JetPack's apt packages; that build is for "
            "servers. " + _cure(name),
            file=sys.stderr,
        )
    return library


def _cure(name: str) -> str:
    if name == "polygraphy":
        return "`pip install polygraphy`."
    if name == "tensorrt" and is_jetson():
        return (
            "On a Jetson it comes from apt: `sudo apt install python3-libnvinfer-dev`, and the environment has to see "
            "it: `python3 -m venv --system-site-packages`."
        )
    package = "tensorrt" if name == "tensorrt" else "tensorrt-rtx"
    if platform.system() not in ("Linux", "Windows"):
        return f"There is no {package} for {platform.system()}; build on Linux or Windows."
    return f"`pip install {package}`."


def _logger(library: Any) -> Any:
    """A logger of ``library`` that keeps what the report needs and prints nothing."""

    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = library

    class Log(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(msg)
            elif " Memory: " in msg:
                self.lines.append(msg)

        def figure(self, title: str) -> int | None:
            """The bytes of the log line ``title: N bytes``."""
            for line in self.lines:
                if match := re.search(rf"{title}: (\d+) bytes", line):
                    return int(match[1])
            return None

    return Log()
