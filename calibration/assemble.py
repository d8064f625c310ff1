"""The content of an int8 package: graphs, provenance, certificate, and the report of what each layer costs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import runtime
from export.passes.edit import constant_bytes
from runtime.image import decibels
from runtime.package.manifest import CERTIFICATE, GOLDEN
from runtime.package.reading import Package
from runtime.package.writing import write_manifest

from .collect import denoiser_calls
from .plot import plot
from .report import table
from .result import Result

RANGES, TABLE, PLOT = "calibration.json", "sensitivity.md", "sensitivity.png"


def assemble(work: Path, package: Package, graphs: Mapping[str, bytes], result: Result) -> None:
    """Write the int8 package into the empty folder ``work``. Stages without int8 layers are the fp32 package's."""
    source = package.manifest
    for stage in source.stages:
        (work / stage.file).write_bytes(graphs[stage.name] if stage.name in graphs else package.graph(stage.name))
    (work / GOLDEN).write_bytes(package.read(GOLDEN))
    (work / CERTIFICATE).write_bytes(_json(_certificate(package, result)))
    (work / RANGES).write_bytes((json.dumps(_ranges(package, result), separators=(",", ":")) + "\n").encode())
    (work / TABLE).write_bytes(table(result).encode())
    (work / PLOT).write_bytes(plot(result))
    manifest = replace(
        source,
        precision="int8",
        # Work and activations are the float network's: what an engine saves by int8 is its own affair.
        cost={
            stage.name: replace(source.cost[stage.name], weight_bytes=constant_bytes((work / stage.file).read_bytes()))
            for stage in source.stages
        },
        provenance={**source.provenance, "calibration": _provenance(package, result)},
    )
    write_manifest(work, manifest, (RANGES, TABLE, PLOT))


def _provenance(package: Package, result: Result) -> dict[str, Any]:
    return {
        "fp32_package_sha256": package.sha256,
        "made_by": f"diffll-deploy {runtime.__version__}",
        "versions": {name: version(name) for name in ("onnx", "onnx_ir", "onnxruntime", "numpy")},
        "method": result.method,
        "budget_db": result.budget_db,
        "photos": [one.record for one in result.calibrated],
        "noise": "of photo k: numpy default_rng(k).standard_normal, float32",
        "float_layers": [f"{stage}: {name}" for stage, name in result.float_layers],
        "int8_layers": {
            stage: sum((stage, layer.name) not in result.float_layers for layer in layers)
            for stage, layers in result.layers.items()
        },
        "ranges": f"{RANGES}: what every quantised tensor was seen to hold, a call, and what int8 holds of it",
    }


def _certificate(package: Package, result: Result) -> dict[str, Any]:
    return {
        "reference": f"the fp32 package {package.sha256}, same noise",
        "engine": "onnxruntime CPUExecutionProvider",
        "limits": {"psnr_db": result.budget_db},
        "end_to_end": [
            {
                "photos": one.record,
                "used_for_calibration": False,
                "size": f"{width}x{height}",
                "sampling": sampling.name,
                "noise": "none, x_T is zero"
                if sampling.start == "zero"
                else f"numpy default_rng({seed}).standard_normal, float32",
                "steps": sampling.calls,
                "psnr_db": _db(error),
            }
            for sampling in package.manifest.samplings.values()
            for seed, (one, (width, height), error) in enumerate(
                zip(result.unseen, result.sizes, result.errors[sampling.name], strict=True)
            )
        ],
    }


def _ranges(package: Package, result: Result) -> dict[str, Any]:
    """For every tensor: the magnitude that int8 holds, and the extremes seen; the denoiser's at each of the calls."""
    samplings = package.manifest.samplings
    return {
        "calls": [{"sampling": sampling, "timestep": t} for sampling, t in denoiser_calls(package.manifest)],
        "stages": {
            stage: {
                name: {
                    "int8_holds": _rounded([result.limits[stage][name]])[0],
                    "lows": _rounded(observed.lows[index]),
                    "highs": _rounded(observed.highs[index]),
                }
                for index, name in enumerate(observed.tensors)
            }
            for stage, observed in result.observed.items()
        },
        "sensitivity": {
            "layers_psnr_db": {f"{s}: {name}": _db(error) for (s, name), error in result.sensitivity.layers.items()},
            "calls_psnr_db": {
                name: {str(t): _db(result.sensitivity.calls[name, t]) for t in samplings[name].timesteps}
                for name in samplings
            },
            "stages_psnr_db": {stage: _db(error) for stage, error in result.sensitivity.stages.items()},
        },
    }


def _db(error: float) -> float:
    return round(decibels(error), 2)


def _rounded(values: Iterable[float]) -> list[float]:
    """To five digits: enough to read, half as long."""
    return [float(f"{value:.5g}") for value in values]


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
