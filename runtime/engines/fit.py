"""Whether an engine of the cache can be used on this machine, told from its key."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..machine.gpu import Gpu
    from ..package.manifest import Stage
    from ..package.reading import Package
    from .cache import Engine

WRITTEN = {"openvino": 2}
"""How a package's graph is written for a library before it is compiled (``backends/openvino_graph.py``): a number that
is raised with every change of that, and is part of an engine's key. None: as it is."""


def misfit(engine: Engine, package: Package, gpu: Gpu | None, versions: Mapping[str, str]) -> str:
    """Why the engine cannot be used here, or "". versions: backend -> the library's own version."""
    key, target = engine.key, str(engine.key.get("target"))
    graphs = {stage.name: package.manifest.files[stage.file][0] for stage in package.manifest.stages}
    if graphs.get(str(key.get("stage"))) != key.get("graph_sha256"):
        return "built from another graph than the package's"
    flags = key.get("flags")
    if isinstance(flags, dict) and flags.get("written") != WRITTEN.get(target):
        return "another version of this project compiled it"
    environment = key.get("environment")
    if not isinstance(environment, dict):
        return "it does not say what it was built with"
    built_with, here = str(environment.get("library")), versions.get(target, "")
    if not here:
        return f"built with {built_with}, and {target} does not load here"
    if built_with != f"{target.replace('-', '_')} {here}":
        return f"built with {built_with}, installed is {here}"
    system = f"{platform.system()} {platform.machine()}".lower()
    if environment.get("platform", system) != system:
        return f"built on {environment['platform']}, this is {system}"
    built_for = environment.get("gpu")
    if gpu is not None and isinstance(built_for, str) and not gpu_fits(built_for, gpu):
        return f"built for {built_for}; here is {gpu.name}, {gpu.compute_capability}"
    return ""


def gpu_fits(built_for: str, gpu: Gpu) -> bool:
    """built_for: the words of ``export.engine``, from one GPU's name to every GPU."""
    if built_for.startswith("every GPU"):
        return True
    if built_for == "Ampere or newer":
        return int(gpu.compute_capability.split(".")[0]) >= 8
    if re.fullmatch(r"compute capability .+|[\d. ]+", built_for):
        return gpu.compute_capability in built_for.split()
    return built_for == f"{gpu.name}, {gpu.compute_capability}"


def covered(stage: Stage, engine: Engine) -> str:
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
        for size, number in zip(spec.shape, shapes.get(spec.name, ()), strict=False):
            if isinstance(size, str):
                symbol, _, divisor = size.partition("/")
                found[symbol] = number * int(divisor or 1)
    return found["batch"], found["width"], found["height"]
