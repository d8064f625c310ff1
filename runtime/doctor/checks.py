"""What the doctor makes of what it finds: a verdict and the line to type, on libraries, GPU, backends and engines."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..cli.command import ROOT
from ..engines.cache import EngineCache
from ..engines.entry import Engine
from ..engines.fit import Machine, misfit, photo_sizes
from ..engines.libraries import install_line, installed, is_server_build, library_of, wheel_of
from ..engines.refusal import NotTaken
from ..machine.gpu import Gpu, is_jetson
from ..machine.host import ONNXRUNTIME_WHEELS, nvidia_devices
from ..names import BACKENDS, TARGETS
from ..package.reading import Package
from .child import NVIDIA, run_probe

Verdict = Literal["ok", "absent", "problem"]
# provider -> the library that its onnxruntime wheel does not bring
_EXTRA = {"TensorrtExecutionProvider": "tensorrt"}


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    section: str
    """``libraries``, ``gpu``, ``backends``, ``package`` or ``engines``."""
    name: str
    verdict: Verdict
    """``absent``: not installed or not usable here, which is no fault."""
    detail: str
    fix: str = ""
    """The line to type, or empty."""
    version: str = ""
    """Of the library that was tried, or empty."""


def check_libraries(libraries: Mapping[str, str], gpu: Gpu | None) -> Iterator[Check]:
    """numpy, and that there is one onnxruntime, not two in one folder. libraries: distribution -> version."""
    if "numpy" not in libraries:
        yield Check("libraries", "numpy", "problem", "not installed, and everything needs it", "pip install numpy")
    wheels = [name for name in ONNXRUNTIME_WHEELS if name in libraries]
    if len(wheels) > 1:
        special = [name for name in wheels if name not in ("onnxruntime", "onnxruntime-gpu")]
        if gpu is not None and "onnxruntime-gpu" in wheels:
            keep = wheel_of("onnxruntime-gpu", gpu)
        else:
            keep = (special or ["onnxruntime"])[0]
            keep += f"=={libraries[keep]}" if keep in libraries else ""
        versions = ", ".join(f"{name} {libraries[name]}" for name in wheels)
        fix = f"pip uninstall -y {' '.join(wheels)} && pip install --force-reinstall {keep}"
        yield Check("libraries", "onnxruntime", "problem", f"{versions}: they overwrite each other's files", fix)


def check_photos(libraries: Mapping[str, str]) -> Check:
    """Whether Pillow is here and does what the command asks of it. libraries: distribution -> version."""
    pillow = "'pillow>=12,<14'"
    if not installed("PIL"):
        detail = f"not installed: `python -m {ROOT}` reads and writes photos with it (arrays in Python need none)"
        return Check("libraries", "pillow", "problem", detail, f"pip install {pillow}")
    found, version = run_probe("photos"), libraries.get("pillow", "")
    if "error" in found:
        fix = f"pip install --force-reinstall {pillow}"
        return Check("libraries", "pillow", "problem", found["error"], fix, version)
    return Check("libraries", "pillow", "ok", found["ran"], version=version)


def check_gpu(gpu: Gpu | None, libraries: Mapping[str, str]) -> Iterator[Check]:
    """Whether a GPU that is in the machine can be used, and whether its driver speaks the wheel's CUDA."""
    if gpu is None and not (nvidia_devices() or is_jetson()):
        yield Check("gpu", "driver", "absent", "no NVIDIA GPU here")
        return
    if gpu is None:
        reason, fix = "no driver, one that does not run, or a container without `--gpus all`", "nvidia-smi"
        if "CUDA_VISIBLE_DEVICES" in os.environ:
            reason, fix = "CUDA_VISIBLE_DEVICES is set", "unset CUDA_VISIBLE_DEVICES"
        yield Check("gpu", "driver", "problem", f"an NVIDIA GPU is in this machine and CUDA shows none ({reason})", fix)
        return
    detail = f"{gpu.name}, compute capability {gpu.compute_capability}, driver for CUDA {gpu.driver_cuda}"
    yield Check("gpu", "driver", "ok", detail)
    wheel = libraries.get("onnxruntime-gpu", "")
    if wheel and not gpu.integrated:  # a Jetson's wheels come from elsewhere than PyPI
        # those of PyPI are built for CUDA 13 from 1.27 on, for 12 before
        needs = 13 if [int(number) for number in re.findall(r"\d+", wheel)[:2]] >= [1, 27] else 12
        detail = f"onnxruntime-gpu {wheel} is built for CUDA {needs}, the driver speaks {gpu.driver_cuda}"
        if needs > gpu.cuda:
            fix = f"pip install {wheel_of('onnxruntime-gpu', gpu)}"
            yield Check("gpu", "cuda", "problem", detail, fix)
        else:
            yield Check("gpu", "cuda", "ok", detail + (" and runs it too" if needs < gpu.cuda else ""))


def check_backends(gpu: Gpu | None, libraries: Mapping[str, str]) -> list[Check]:
    """Every backend's checks; each library is tried in a process of its own."""
    return [check for name in BACKENDS if name != "auto" for check in check_backend(name, gpu, libraries)]


def check_backend(name: str, gpu: Gpu | None, libraries: Mapping[str, str]) -> Iterator[Check]:
    """One library: not installed, broken, or what it runs; then each of its providers or devices, if it has several."""
    if not installed(name):
        if name.startswith("tensorrt") and gpu is None and not (nvidia_devices() or is_jetson()):
            yield Check("backends", name, "absent", "not installed; it needs an NVIDIA GPU, and none is here")
        else:
            yield Check("backends", name, "absent", "not installed", install_line(name))
        return
    wheels = ONNXRUNTIME_WHEELS if name == "onnxruntime" else ()
    wheel = next((one for one in wheels if one in libraries), name)
    found, again = run_probe(name), install_line(wheel, again=True)
    version = found.get("version", "")
    if "file" in found and is_server_build(name, found["file"]):
        detail = f"comes from {found['file']}: a build for servers, not JetPack's"
        fix = f"pip uninstall -y tensorrt && {install_line(name)}"
        yield Check("backends", name, "problem", detail, fix, version)
    elif "error" in found or "ran" in found:
        yield _judged(name, found, again, version)
        if name == "ncnn" and "ran" in found:
            yield from _check_vulkan(version)
    elif name == "onnxruntime":
        yield from _check_providers(found["providers"], wheel, version, gpu)
    elif gpu is None:
        yield Check("backends", name, "absent", "loads; needs a GPU to run", version=version)
    else:
        fix = f"pip install 'cuda-bindings=={gpu.cuda}.*'"
        yield Check("backends", name, "problem", "loads; cuda-bindings, which runs engines, is missing", fix, version)


def _judged(name: str, found: Mapping[str, Any], fix: str, version: str) -> Check:
    """What a probe that ran the test graph found."""
    if "error" in found:
        return Check("backends", name, "problem", found["error"], fix, version)
    return Check("backends", name, "ok", found["ran"], version=version)


def _check_providers(providers: list[str], wheel: str, version: str, gpu: Gpu | None) -> Iterator[Check]:
    """Those of the onnxruntime that is installed as ``wheel``, and CUDA where it could have it."""
    for provider in providers:
        name, extra = f"onnxruntime {provider}", _EXTRA.get(provider, "")
        if provider == "AzureExecutionProvider":
            detail = "not tried: it calls a web service and computes nothing here"
            yield Check("backends", name, "absent", detail, version=version)
        elif provider not in NVIDIA:
            fix = f"pip install --force-reinstall {wheel}=={version}"
            yield _judged(name, run_probe("provider", provider), fix, version)
        elif gpu is None:
            yield Check("backends", name, "absent", "needs an NVIDIA GPU to run", version=version)
        elif extra and not installed(extra):
            yield Check("backends", name, "absent", f"{extra} is not installed", install_line(extra), version)
        else:
            fix = install_line(extra) if extra else f"pip install {wheel_of('onnxruntime-gpu', gpu)}"
            yield _judged(name, run_probe("provider", provider), fix, version)
    if gpu is not None and not is_jetson() and NVIDIA[0] not in providers:
        fix = f"pip uninstall -y {wheel} && pip install {wheel_of('onnxruntime-gpu', gpu)}"
        yield Check("backends", f"onnxruntime {NVIDIA[0]}", "absent", f"not in the wheel {wheel}", fix, version)


def _check_vulkan(version: str) -> Iterator[Check]:
    """Every Vulkan device that ncnn finds."""
    name, fix, found = "ncnn vulkan", "vulkaninfo --summary", run_probe("vulkan")
    if "error" in found:
        yield _judged(name, found, fix, version)
    elif not found["devices"]:
        yield Check("backends", name, "absent", f"no Vulkan device here{found['said']}", version=version)
    for index in range(found.get("devices", 0)):
        yield _judged(f"{name}:{index}", run_probe("ncnn", str(index)), fix, version)


def check_engines(package: Package, gpu: Gpu | None, versions: Mapping[str, str]) -> Iterator[Check]:
    """Each engine beside the package: does it fit this machine? versions: backend -> the library's own version.

    An engine that does not fit is no problem while another one for the same stage and sizes does.
    """
    engines, refused = EngineCache(package.path).look()
    if not engines and not refused:
        yield Check("engines", "none", "absent", f"{package.path} has none yet")
    targets = {str(engine.key.get("target")) for engine in engines}
    tried = "openvino" in targets and versions.get("openvino")
    compiled_for = run_probe("openvino_environment", package.manifest.precision) if tried else {}
    if "error" in compiled_for:
        versions, compiled_for = {**versions, "openvino": ""}, {}
    versions = {target: version for target in targets if (version := versions.get(library_of(target))) is not None}
    machines = {target: Machine(versions, gpu, compiled_for if target == "openvino" else {}) for target in targets}
    reasons = {engine.path: misfit(engine, package, machines[str(engine.key.get("target"))]) for engine in engines}
    served = {_place(engine) for engine in engines if not reasons[engine.path]}
    for engine in engines:
        target, reason = str(engine.key.get("target")), reasons[engine.path]
        name = f"{engine.key.get('stage')} {target}"
        if not reason and gpu is None and target not in ("ncnn", "openvino"):
            yield Check("engines", name, "absent", "no GPU here to run it on")
        elif not reason:
            yield Check("engines", name, "ok", "fits" + _sizes(engine, package))
        elif _place(engine) in served:
            fix = shlex.join(["rm", "-r", str(engine.path)])
            yield Check("engines", name, "absent", f"left over, another one fits ({reason})", fix)
        else:
            fix = install_line(library_of(target)) if versions.get(target) == "" else engine.command
            yield Check("engines", name, "problem", f"stale: {reason}", fix)
    for one in refused:
        yield _check_refused(one, package)


def _check_refused(one: NotTaken, package: Package) -> Check:
    name = f"{one.stage} {one.target}" if one.stage else one.brief(package.path).partition(":")[0]
    target = one.target if one.target in TARGETS else ""
    return Check("engines", name, "problem", f"not taken: {one.reason}", one.cure(package.path, target))


def _sizes(engine: Engine, package: Package) -> str:
    """Of the photos that it takes; nothing where it takes all."""
    sizes = photo_sizes(package.manifest.stage(engine.key["stage"]), engine)
    return f" (photos of {sizes})" if sizes else ""


def _place(engine: Engine) -> str:
    """What an engine is for: two of the same place serve the same photos."""
    return json.dumps([engine.key.get(part) for part in ("stage", "target", "profile")], sort_keys=True)
