"""ONNX graph -> serialized engine, with TensorRT 10.3 and up, TensorRT 11 and TensorRT-RTX, through Polygraphy.

Precision is in the graph (strong typing): asked for in TensorRT 10, always on in 11 and in TensorRT-RTX, so one code
path serves the three.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.backends.tensorrt.library import log_of
from runtime.engines.cache import PLAN
from runtime.engines.fit import GpuScope, environment
from runtime.engines.libraries import advice, is_server_build, load, wheel_of
from runtime.engines.signed_file import read_signed, write_signed
from runtime.errors import BackendUnavailableError, EngineError, InputError, one_line
from runtime.machine.gpu import current_gpu
from runtime.machine.leftovers import scratch_folder
from runtime.names import Target

from .base import Built

OLDEST = (10, 3)
_READS_GROUP_NORM = (10, 9)
# Of cpu_forms and query_blocks, whose import would need onnx for every graph
FORMS = (b"/group_norm/", b"/attention/")


@dataclass(frozen=True)
class Options:
    """Builder options, all of them part of the engine's key."""

    workspace_mib: int | None = None
    """Scratch memory that tactics may take; None: the library's default."""
    optimization_level: int | None = None
    """0 to 5; None: the library's default."""
    hardware_compatibility: str = "none"
    """TensorRT: ``none``, ``ampere_plus`` or ``same_compute_capability``."""
    compute_capabilities: tuple[str, ...] = ()
    """TensorRT-RTX: the GPUs to build for; empty: all that it supports."""
    tf32: bool = True
    """Whether products of float32 may be formed of 10 bits of each mantissa, as both libraries do by themselves."""


class TensorRTBuilder:
    """Builds for one of the two targets. Raises BackendUnavailableError (library missing or too old, no GPU) or
    InputError (GPU or option that the target does not support)."""

    def __init__(self, target: Target, options: Options) -> None:
        self.target: Target = target
        self.options = options
        self.flags: Mapping[str, Any] = asdict(options)
        self._rtx = target == "tensorrt-rtx"
        if self._rtx:
            os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"  # read when Polygraphy is imported
        self._trt, _ = (load(library, f"--target {target}") for library in (target, "polygraphy"))
        if is_server_build(target, self._trt.__file__):
            where = f"tensorrt comes from {self._trt.__file__}, not from JetPack's apt packages"
            print(f"warning: {where}; that build is for servers. {advice(target)}", file=sys.stderr)
        self._gpu = current_gpu()
        self._check()
        found = environment(target, self._trt.__version__) | {"gpu": asdict(self._scope())}
        self.environment: Mapping[str, Any] = found | ({"memory": "given by the user"} if self._rtx else {})

    def _scope(self) -> GpuScope:
        """The GPUs that an engine of these options runs on."""
        options, gpu = self.options, self._gpu
        if options.compute_capabilities:
            return GpuScope("compute_capability", compute_capabilities=options.compute_capabilities)
        if self._rtx:
            return GpuScope("every_rtx")
        if options.hardware_compatibility == "ampere_plus":
            return GpuScope("ampere_plus")
        assert gpu is not None
        if options.hardware_compatibility == "same_compute_capability":
            return GpuScope("compute_capability", compute_capabilities=(gpu.compute_capability,))
        return GpuScope("device", gpu.name, (gpu.compute_capability,))

    def build(self, graph: bytes, profile: Mapping[str, Any], timing_cache: Path) -> Built:
        if self._rtx:  # it has no such cache
            return self._build(graph, profile, timing_cache)
        with kept_times(timing_cache) as own:
            return self._build(graph, profile, own)

    def _build(self, graph: bytes, profile: Mapping[str, Any], timing_cache: Path) -> Built:
        from polygraphy.backend.trt import CreateConfig, EngineBytesFromNetwork, NetworkFromOnnxBytes, Profile
        from polygraphy.backend.trt.util import get_trt_logger
        from polygraphy.exception import PolygraphyException
        from polygraphy.logger import G_LOGGER

        if TYPE_CHECKING:
            import tensorrt as trt
        else:
            trt = self._trt
        log = log_of(self._trt)
        log.errors.clear()
        log.figures.clear()
        # the loaders take this one, and the report is read from it
        importlib.import_module(get_trt_logger.__module__).TRT_LOGGER = log  # type: ignore[attr-defined]
        G_LOGGER.module_severity = G_LOGGER.CRITICAL + 1  # ours is the error that is shown
        if any(mark in graph for mark in FORMS):  # a denoiser
            from ..passes.cpu_forms import restore

            graph = restore(graph)
        if not self._rtx and _version(trt) < _READS_GROUP_NORM:
            from ..passes.group_norm import rewrite_group_norm

            graph = rewrite_group_norm(graph)
        shapes = Profile()
        for tensor, (smallest, usual, largest) in profile.items():
            shapes.add(tensor, smallest, usual, largest)
        options = self.options
        common: dict[str, Any] = {"profiles": [shapes], "builder_optimization_level": options.optimization_level}
        if options.workspace_mib is not None:
            common["memory_pool_limits"] = {trt.MemoryPoolType.WORKSPACE: options.workspace_mib << 20}
        if options.hardware_compatibility != "none":
            level = getattr(trt.HardwareCompatibilityLevel, options.hardware_compatibility.upper())
            common["hardware_compatibility_level"] = level
        if self._rtx:
            from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

            targets = [tuple(map(int, one.split("."))) for one in options.compute_capabilities]
            create, cache = CreateConfigRTX(compute_capabilities=targets or None, **common), None

            def config(builder: Any, network: Any) -> Any:
                found = create(builder, network)
                # without it the runtime may allocate on its own, and cannot be captured into a CUDA graph
                found.set_flag(self._trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
                if not options.tf32:
                    found.clear_flag(self._trt.BuilderFlag.TF32)
                return found

        else:
            cache = str(timing_cache)
            known = cache if timing_cache.exists() else None
            config = CreateConfig(tf32=options.tf32, load_timing_cache=known, **common)
        # TensorRT 11 has dropped the flag: there every network is strongly typed
        strongly_typed = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
        try:
            network = NetworkFromOnnxBytes(graph, strongly_typed=strongly_typed)
            plan = bytes(EngineBytesFromNetwork(network, config, save_timing_cache=cache)())
        except PolygraphyException as error:
            reason = one_line(" ".join([*log.errors][-3:] or [str(error)]), 600)
            cure = "Try a smaller --max-size, more --workspace, or the versions of docs/engines.md"
            raise EngineError(f"{self.environment['library']} could not build the engine: {reason}. {cure}.") from error
        activations, weights = (log.figures.get(f"Total {what} Memory") for what in ("Activation", "Weights"))
        return {PLAN: plan}, {"activation_bytes": activations, "weights_bytes": weights}

    def _check(self) -> None:
        """Whether library, GPU and options go together."""
        version, gpu, asked = self._trt.__version__, self._gpu, self.options.compute_capabilities
        if not self._rtx:
            if _version(self._trt) < OLDEST:
                needed = f"{OLDEST[0]}.{OLDEST[1]} or newer is needed"
                cure = f"JetPack 6.2 has 10.3, a server takes `pip install {wheel_of('tensorrt', gpu)}`"
                raise BackendUnavailableError(f"TensorRT {version} is here; {needed} ({cure}).")
            if gpu is None:
                cure = "none is visible here (nvidia-smi?). `--target tensorrt-rtx` builds without one"
                raise BackendUnavailableError(f"TensorRT builds on the GPU that it builds for, and {cure}.")
            level = self.options.hardware_compatibility
            if level != "none" and not hasattr(self._trt.HardwareCompatibilityLevel, level.upper()):
                cure = "Leave it out, or install a TensorRT newer than 10.8"
                raise InputError(f"--hardware-compatibility {level}: TensorRT {version} has no such level. {cure}.")
            return
        supported = rtx_capabilities(self._trt)
        named = ", ".join(supported)
        unknown = [one for one in asked if one not in supported]
        if unknown:
            cure = "Hopper (9.0) and Orin (8.7) take `--target tensorrt`"
            raise InputError(f"compute capability {unknown[0]} is not one of TensorRT-RTX {version} ({named}). {cure}.")
        if gpu is not None and not asked and gpu.compute_capability not in supported:
            here = f"this machine's {gpu.name} (compute capability {gpu.compute_capability}; it supports {named})"
            cure = "Use `--target tensorrt`, or `--compute-capability 8.9` to build for another machine"
            raise InputError(f"TensorRT-RTX {version} does not support {here}. {cure}.")


@contextmanager
def kept_times(timing_cache: Path) -> Iterator[Path]:
    """A file for the library's own use, with what this user's earlier builds measured of its tactics; not there where
    that is nothing, or, which is told, not theirs. What the library leaves in it is kept for the next build."""
    known = b""
    try:
        known = read_signed(timing_cache, timing_cache.name)
    except EngineError as error:
        print(f"warning: {str(error).rstrip('.')}. It is ignored, and written anew.", file=sys.stderr)
    with scratch_folder("timing") as folder:
        path = folder / timing_cache.name
        if known:
            path.write_bytes(known)
        yield path
        times = path.read_bytes() if path.exists() else b""
    if times and times != known:
        try:
            write_signed(timing_cache, timing_cache.name, times)
        except OSError as error:  # the next build takes longer
            print(f"warning: {timing_cache}: cannot be written ({error.strerror}).", file=sys.stderr)


def rtx_capabilities(library: Any) -> list[str]:
    """The compute capabilities that this TensorRT-RTX builds for, such as ["7.5", "8.0", ...]."""
    names = [name for name in dir(library.ComputeCapability) if re.fullmatch(r"SM\d+", name)]
    return [f"{name[2:-1]}.{name[-1]}" for name in sorted(names, key=lambda name: int(name[2:]))]


def _version(library: Any) -> tuple[int, int]:
    major, minor = library.__version__.split(".")[:2]
    return int(major), int(minor)
