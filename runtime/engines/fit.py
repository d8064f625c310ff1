"""Which engines beside a package fit this machine, and why the others do not: one answer for all backends and the
doctor."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import EngineError
from ..machine.gpu import Gpu
from ..package.manifest import Stage
from ..package.reading import Package
from .cache import EngineCache
from .entry import Engine
from .libraries import library_of, module_name
from .refusal import NotTaken, build_command

REWRITE_VERSION = {"openvino": 2, "ncnn": 1, "cuda": 1}
"""Target -> version of how a package's graph is rewritten before it is compiled (``backends/openvino/graph.py``,
``export/builders/ncnn.py``, ``export/passes/cuda_forms.py``). It is part of an engine's key: raise it
whenever a rewrite changes."""


@dataclass(frozen=True)
class GpuScope:
    """The GPUs that an engine runs on, as its key says it."""

    scope: Literal["device", "compute_capability", "ampere_plus", "every_rtx"]
    name: str = ""
    """Of a ``device``."""
    compute_capabilities: tuple[str, ...] = ()
    """Of a ``device`` or ``compute_capability``, such as ("8.9",)."""

    def fits(self, gpu: Gpu) -> bool:
        if self.scope == "ampere_plus":
            return int(gpu.compute_capability.split(".")[0]) >= 8
        if self.scope == "every_rtx":
            return True
        return gpu.compute_capability in self.compute_capabilities and self.name in ("", gpu.name)

    def __str__(self) -> str:
        words = {"ampere_plus": "Ampere or newer", "every_rtx": "every GPU that TensorRT-RTX supports"}
        capabilities = " or ".join(self.compute_capabilities)
        named = f"{self.name}, {capabilities}" if self.name else f"compute capability {capabilities}"
        return words.get(self.scope, named)


@dataclass(frozen=True)
class Machine:
    """What an engine has to fit."""

    versions: Mapping[str, str]
    """Target -> the version of its library; "" or no entry: it does not load here."""
    gpu: Gpu | None = None
    """None: an engine for any GPU fits."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """More that an engine's environment has to say, such as the ``processor`` that OpenVINO compiled for."""


def environment(target: str, version: str) -> dict[str, Any]:
    """The part of an engine's key that every target has. version: of the target's library."""
    system = f"{platform.system()} {platform.machine()}".lower()
    return {"library": f"{module_name(library_of(target))} {version}", "platform": system}


def misfit(engine: Engine, package: Package, machine: Machine) -> str:
    """Why the engine cannot be used here, or ""."""
    key, target = engine.key, str(engine.key["target"])
    stages = {stage.name: stage for stage in package.manifest.stages}
    stage, built = stages.get(key["stage"]), key["environment"]
    if not engine.intact:
        return "built for something else than its name says"
    if stage is None or package.manifest.files[stage.file][0] != key["graph_sha256"]:
        return "built from another graph than the package's"
    try:
        photo_sizes(stage, engine)
    except (KeyError, ValueError):
        return "built for other inputs than the package's"
    if key["flags"].get("rewrite") != REWRITE_VERSION.get(target):
        return "another version of this project compiled it"
    version = machine.versions.get(target, "")
    if not version:
        return f"built with {built.get('library')}, and {library_of(target)} does not load here"
    here = environment(target, version) | dict(machine.environment)
    if built.get("library") != here["library"]:
        return f"built with {built.get('library')}, installed is {version}"
    for name in here:
        if built.get(name) != here[name]:
            return f"built for the {name} {built.get(name)}, here it is {here[name]}"
    if "gpu" in built:
        try:
            scope = GpuScope(**built["gpu"])
            if machine.gpu is not None and not scope.fits(machine.gpu):
                return f"built for {scope}; here is {machine.gpu.name}, {machine.gpu.compute_capability}"
        except TypeError:
            return "it does not say which GPUs it was built for"
    return ""


def usable(package: Package, stage: str, target: str, machine: Machine) -> tuple[list[Engine], list[str]]:
    """The stage's engines that fit here, newest first, and a line for each of the others: its name and why not."""
    fitting, stale, refused = _sorted(package, stage, target, machine)
    return fitting, [*(one.brief(package.path) for one in refused), *stale]


def _sorted(
    package: Package, stage: str, target: str, machine: Machine
) -> tuple[list[Engine], list[str], list[NotTaken]]:
    """Those that fit, a line for each of those that do not, and those that are not taken whatever they fit."""
    fitting, stale = [], []
    engines, refused = EngineCache(package.path).look(stage, target)
    for engine in engines:
        if reason := misfit(engine, package, machine):
            stale.append(f"{engine.path.name}: {reason}")
        else:
            fitting.append(engine)
    return fitting, stale, refused


def needed(package: Package, stage: str, target: str, machine: Machine) -> list[Engine]:
    """The engines of ``usable``, at least one. Raises EngineError with the command that builds it, or that makes one
    that is there usable."""
    fitting, stale, refused = _sorted(package, stage, target, machine)
    if fitting:
        return fitting
    if refused:
        raise refused[0].with_cure(package.path, target)
    found = f" ({'; '.join(stale[:3])})" if stale else ""
    cure = f"build it: `{build_command(package.path, target)}`."
    raise EngineError(f"{package.path}: no {target} engine of {stage} for this machine{found}; {cure}")


def photo_sizes(stage: Stage, engine: Engine) -> str:
    """The padded photos that an engine of this stage takes, such as "32x32 to 1920x1088"; empty for every size."""
    profile: Mapping[str, Any] = engine.key["profile"]
    if not profile:
        return ""
    low, high = (photo_of(stage, {name: corners[at] for name, corners in profile.items()}) for at in (0, 2))
    batch = f", batch up to {high[0]}" if high[0] > 1 else ""
    sizes = [f"{width}x{height}" for _, width, height in (low, high)]
    return (sizes[0] if low == high else " to ".join(sizes)) + batch


def photo_of(stage: Stage, shapes: Mapping[str, Any]) -> tuple[int, int, int]:
    """(batch, width, height) of the padded photo that these input shapes of a stage come from."""
    found: dict[str, int] = {}
    for spec in stage.inputs:
        if spec.name in shapes:
            found |= spec.photo_size(shapes[spec.name])
    return found["batch"], found["width"], found["height"]
