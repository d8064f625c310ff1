"""Whether an engine of the cache can be used on this machine, told from its key."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine_cache import Engine
    from .gpu import Gpu
    from .package import Package

WRITTEN = {"openvino": 1}
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
