"""``python -m runtime.doctor`` (on a device: ``python -m diffll.doctor``): what runs here, and what to type if not.

``--json`` prints one object: ``ok`` (no problem), ``summary``, ``version`` (ours), ``machine`` (``platform``,
``python``, ``jetson``, ``processor``, ``features`` and ``features_missing``, ``usable_cores``, ``memory_mib``),
``gpu`` (null, or ``name``, ``compute_capability``, ``integrated``, ``driver_cuda``), ``libraries`` (distribution ->
version) and ``checks``, a list of ``section`` (``libraries``, ``gpu``, ``backends`` or ``engines``), ``name``,
``verdict`` (``ok``, ``absent``: not here and no fault, or ``problem``), ``detail``, ``fix`` (the line to type, or
"") and ``version``. Exit code: 0 without a problem, 1 with one, 2 for a mistake in the command.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli.command import ROOT, Parser, run_command

if TYPE_CHECKING:
    from ..engines.cache import Engine
    from ..machine.gpu import Gpu
    from ..package.reading import Package
    from .probes import Check

PROBLEM_FOUND = 1
_MARKS = {"ok": "ok", "absent": "-", "problem": "PROBLEM"}


def parse_args(argv: Sequence[str] | None) -> Any:
    parser = Parser(
        prog=f"python -m {ROOT}.doctor",
        description="Run a tiny graph on every backend of this machine and say what works and what to type if not.",
    )
    parser.add_argument("package", nargs="?", type=Path, metavar="PACKAGE", help="check this package's engines too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)

    from ..package.reading import Package

    report = examine(Package.open(args.package) if args.package else None)
    print(json.dumps(report, indent=1) if args.json else "\n".join(lines(report)))
    return 0 if report["ok"] else PROBLEM_FOUND


def examine(package: Package | None) -> dict[str, Any]:
    """The whole report, as ``--json`` prints it. Takes seconds: every backend is tried."""
    from ..machine.gpu import current_gpu
    from ..machine.host import ONNXRUNTIME_WHEELS, describe, installed_libraries
    from ..names import __version__
    from .probes import check_backends

    gpu, libraries = current_gpu(), installed_libraries()
    wheels = {name: libraries[name] for name in ONNXRUNTIME_WHEELS if name in libraries}
    backends = check_backends(gpu, wheels)
    checks = [*check_libraries(libraries, gpu), *check_gpu(gpu, libraries), *backends]
    if not any(check.verdict == "ok" for check in backends):
        checks.append(_check("backends", "none", "problem", "no backend runs here", "pip install onnxruntime"))
    if package is not None:
        checks += check_engines(package, gpu, {check.name: check.version for check in backends})
    return {
        "ok": all(check.verdict != "problem" for check in checks),
        "summary": summary(checks),
        "version": __version__,
        "machine": describe(),
        "gpu": asdict(gpu) if gpu else None,
        "libraries": libraries,
        "checks": [asdict(check) for check in checks],
    }


def summary(checks: Sequence[Check]) -> str:
    runs = [check.name for check in checks if check.section == "backends" and check.verdict == "ok"]
    problems = sum(check.verdict == "problem" for check in checks)
    found = "no problem" if not problems else f"{problems} problem{'s' if problems > 1 else ''}, each with a -> line"
    return f"{found}; ok here: {', '.join(runs) or 'nothing'}"


def check_libraries(libraries: Mapping[str, str], gpu: Gpu | None) -> Iterator[Check]:
    """numpy, and that there is one onnxruntime, not two in one folder."""
    from ..machine.host import ONNXRUNTIME_WHEELS

    if "numpy" not in libraries:
        yield _check("libraries", "numpy", "problem", "not installed, and everything needs it", "pip install numpy")
    wheels = [name for name in ONNXRUNTIME_WHEELS if name in libraries]
    if len(wheels) > 1:
        from .probes import gpu_wheel

        special = [name for name in wheels if name not in ("onnxruntime", "onnxruntime-gpu")]
        if gpu is not None and "onnxruntime-gpu" in wheels:
            keep = gpu_wheel(gpu)
        else:
            keep = (special or ["onnxruntime"])[0]
            keep += f"=={libraries[keep]}" if keep in libraries else ""
        versions = ", ".join(f"{name} {libraries[name]}" for name in wheels)
        fix = f"pip uninstall -y {' '.join(wheels)} && pip install --force-reinstall {keep}"
        yield _check("libraries", "onnxruntime", "problem", f"{versions}: they overwrite each other's files", fix)


def check_gpu(gpu: Gpu | None, libraries: Mapping[str, str]) -> Iterator[Check]:
    """Whether a GPU that is in the machine can be used, and whether its driver speaks the wheel's CUDA."""
    from ..machine.gpu import is_jetson
    from ..machine.host import nvidia_devices
    from .probes import gpu_wheel

    if gpu is None:
        if nvidia_devices() or is_jetson():
            hidden = "CUDA_VISIBLE_DEVICES" in os.environ
            detail = "an NVIDIA GPU is in this machine and CUDA shows none"
            reason = "no driver, one that does not run, or a container without `--gpus all`"
            detail += f" ({'CUDA_VISIBLE_DEVICES is set' if hidden else reason})"
            yield _check("gpu", "driver", "problem", detail, "unset CUDA_VISIBLE_DEVICES" if hidden else "nvidia-smi")
        else:
            yield _check("gpu", "driver", "absent", "no NVIDIA GPU here")
        return
    detail = f"{gpu.name}, compute capability {gpu.compute_capability}, driver for CUDA {gpu.driver_cuda}"
    yield _check("gpu", "driver", "ok", detail)
    wheel = libraries.get("onnxruntime-gpu")
    if wheel is not None and not gpu.integrated:  # a Jetson's wheels come from elsewhere than PyPI
        needs, speaks = wheel_cuda(wheel), int(gpu.driver_cuda.split(".")[0])
        detail = f"onnxruntime-gpu {wheel} is built for CUDA {needs}, the driver speaks {gpu.driver_cuda}"
        if needs > speaks:
            yield _check("gpu", "cuda", "problem", detail, f"pip install {gpu_wheel(gpu)}")
        else:
            yield _check("gpu", "cuda", "ok", detail + (" and runs it too" if needs < speaks else ""))


def wheel_cuda(version: str) -> int:
    """The CUDA that an onnxruntime-gpu from PyPI is built for: 13 from 1.27 on, 12 before."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return 13 if numbers >= [1, 27] else 12


def check_engines(package: Package, gpu: Gpu | None, versions: Mapping[str, str]) -> Iterator[Check]:
    """Each engine beside the package: does it fit this machine? versions: backend -> the library's own version.

    An engine that does not fit is no problem while another one for the same stage and sizes does.
    """
    from ..engines.cache import EngineCache
    from ..engines.fit import Machine, misfit
    from .probes import install_line

    cache = EngineCache(package.path)
    engines = list(cache.entries())
    readable = {engine.path for engine in engines}
    folders = [path for path in sorted(cache.folder.glob("[!.]*")) if path.is_dir()]
    if not folders:
        yield _check("engines", "none", "absent", f"{package.path} has none yet")
    here = Machine(versions, gpu)
    reasons = {engine.path: misfit(engine, package, here) for engine in engines}
    served = {_place(engine) for engine in engines if not reasons[engine.path]}
    for engine in engines:
        target, reason = str(engine.key.get("target")), reasons[engine.path]
        name, rebuild = f"{engine.key.get('stage')} {target}", _rebuild_line(engine, package)
        if not reason and gpu is None and target not in ("ncnn", "openvino"):
            yield _check("engines", name, "absent", "no GPU here to run it on")
        elif not reason:
            yield _check("engines", name, "ok", "fits" + _sizes(engine, package))
        elif _place(engine) in served:
            fix = shlex.join(["rm", "-r", str(engine.path)])
            yield _check("engines", name, "absent", f"left over, another one fits ({reason})", fix)
        else:
            fix = install_line(target) if versions.get(target) == "" else rebuild
            yield _check("engines", name, "problem", f"stale: {reason}", fix)
    for path in folders:
        if path not in readable:
            fix = shlex.join(["rm", "-r", str(path)])
            yield _check("engines", path.name, "problem", "damaged, or others can write to it; build it again", fix)


def _sizes(engine: Engine, package: Package) -> str:
    """Of the photos that it takes; nothing where it takes all, or its entry, which may come from anywhere, is odd."""
    from ..engines.fit import photo_sizes

    try:
        sizes = photo_sizes(package.manifest.stage(str(engine.key.get("stage"))), engine)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return ""
    return f" (photos of {sizes})" if sizes else ""


def _place(engine: Engine) -> str:
    """What an engine is for: two of the same place serve the same photos."""
    return json.dumps([engine.key.get(part) for part in ("stage", "target", "profile")], sort_keys=True)


def _rebuild_line(engine: Engine, package: Package) -> str:
    """The command that built the engine, if it is nothing but that: users will paste it into a shell."""
    command = str(engine.report.get("command", ""))
    if re.fullmatch(r"python -m export\.engine [\w ./:=+,'~-]+", command):
        return command
    target = str(engine.key.get("target"))
    target = target if re.fullmatch(r"[\w-]+", target) else "TARGET"
    return f"python -m export.engine {shlex.quote(str(package.path))} --target {target}"


def _check(section: str, name: str, verdict: Any, detail: str, fix: str = "") -> Check:
    from .probes import Check

    return Check(section, name, verdict, detail, fix)


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report as a person reads it."""
    here = report["machine"]
    memory = f", {here['memory_mib']:,} MiB of memory" if here["memory_mib"] else ""
    facts = {
        "platform": here["platform"] + (" (Jetson)" if here["jetson"] else ""),
        "python": f"{here['python']} ({sys.executable})",
        "processor": f"{here['processor'] or 'unknown'}, {here['usable_cores']} usable core(s){memory}",
        "features": " ".join(here["features"]) or "not known here",
        "lacking": " ".join(here["features_missing"]),
        "libraries": ", ".join(f"{name} {version}" for name, version in report["libraries"].items()),
    }
    yield f"{ROOT} {report['version']}"
    yield from (f"  {name:<11}{_plain(fact)}" for name, fact in facts.items() if fact)
    width = max(len(_plain(check["name"])) for check in report["checks"]) + 2
    for section in ("libraries", "gpu", "backends", "engines"):
        checks = [check for check in report["checks"] if check["section"] == section]
        if checks:
            yield f"\n{section}"
        for check in checks:
            version = f"{check['version']}: " if check["version"] else ""
            mark, detail = _MARKS[check["verdict"]], _plain(version + check["detail"])
            yield f"  {mark:<9}{_plain(check['name']):<{width}}{detail}"
            if check["fix"]:
                yield f"  {'':<9}  -> {_plain(check['fix'])}"
    yield f"\n{report['summary']}"


def _plain(text: str) -> str:
    """Without control characters: an engine's entry may come from anywhere."""
    return "".join(one if one.isprintable() else "?" for one in text)


if __name__ == "__main__":
    run_command(main)
