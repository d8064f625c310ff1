"""A package against the PyTorch reference: stage by stage and end to end -> the certificate.

The package side runs through the runtime exactly as on a user's machine; the reference side is the model of
``export.model`` in float32, with its own wavelets, its own step-by-step DDIM formula and the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from runtime.backends import open_backend
from runtime.enhancer import Enhancer
from runtime.errors import DiffLLError
from runtime.image import psnr, to_pixels, to_tensor
from runtime.names import LOOP
from runtime.package.manifest import Stage
from runtime.package.reading import Package
from runtime.sampler import make_table

from ..model import DiffLL
from ..model.diffll import NUM_INFERENCE_STEPS, schedule
from ..passes.emulate import emulated_package
from .cases import Case

Array = NDArray[Any]
_PER_LEVEL = 257  # 16-bit steps in one of 255 grey levels


class CertificateError(DiffLLError, RuntimeError):
    """The package does not do what the PyTorch model does."""


@dataclass(frozen=True)
class Limits:
    """How far a package may be from the PyTorch model."""

    relative: float
    """Largest error of a stage, as a part of its output's range."""
    grey_levels: float
    """Largest error end to end, of 255, before rounding to 8 bits."""
    psnr_db: float
    """End to end, before rounding to 8 bits."""


LIMITS: dict[str, Limits] = {
    "fp32": Limits(relative=1e-3, grey_levels=1.0, psnr_db=55.0),
    "fp16": Limits(relative=1e-2, grey_levels=4.0, psnr_db=50.0),
    "bf16": Limits(relative=1e-1, grey_levels=16.0, psnr_db=40.0),
}


def certify(folder: Path, model: DiffLL, cases: Sequence[Case]) -> dict[str, Any]:
    """Compare the package in ``folder`` with the float32 ``model``; return the certificate, or raise
    CertificateError. A bf16 package is run by its emulated twin."""
    package, engine = Package.open(folder), "onnxruntime CPUExecutionProvider"
    with TemporaryDirectory() as temporary:
        if package.manifest.precision == "bf16":
            package = emulated_package(package, Path(temporary) / "twin")
            engine += " in float32, every bfloat16 result rounded (passes.emulate)"
        limits = LIMITS[package.manifest.precision]
        return {
            "reference": "PyTorch float32, this project's model, eager mode on the CPU",
            "limits": vars(limits),
            "stages": _certify_stages(package, model, cases[0], limits),
            "end_to_end": _certify_photos(package, model, cases, limits),
            "engine": engine,
        }


def _certify_photos(package: Package, model: DiffLL, cases: Sequence[Case], limits: Limits) -> list[dict[str, Any]]:
    records = []
    with Enhancer.open(package.path) as enhancer, torch.inference_mode():
        for case in cases:
            # 16 bits in and out: the same values, and an error that 8 bits would round away still shows
            photos = case.photos.astype(np.uint16) * _PER_LEVEL
            batch, height, width, _ = photos.shape
            shape = (batch, *enhancer.noise_shape(height, width))
            noise = np.random.default_rng(case.seed).standard_normal(shape, np.float32)
            # whole: a plan may approximate attention on a photo that is large for its network
            plan = enhancer.plan(width, height, batch=batch, dtype=photos.dtype, kind="whole")
            result = enhancer(photos, noise=noise, plan=plan)
            image = torch.from_numpy(to_tensor(photos, model.arch.pad_multiple))
            restored = model(image, torch.from_numpy(noise)).numpy()
            expected = to_pixels(restored, height, width, photos.dtype)
            levels = float(np.abs(result.astype(np.int32) - expected).max()) / _PER_LEVEL
            psnr_db = round(psnr(expected, result, 65535), 2)
            records.append(
                {
                    "photos": case.source,
                    "size": f"{width}x{height}",
                    "batch": batch,
                    "noise": f"numpy default_rng({case.seed}).standard_normal, float32",
                    "steps": package.manifest.num_inference_steps,
                    "grey_levels": round(levels, 4),
                    "psnr_db": psnr_db,
                }
            )
            if levels > limits.grey_levels or psnr_db < limits.psnr_db:
                raise CertificateError(
                    f"the package differs from the PyTorch model on {width}x{height} x {batch}: {levels:.2f} grey "
                    f"levels, PSNR {psnr_db} dB (allowed {limits.grey_levels}, at least {limits.psnr_db}); no package "
                    "was written. This is a defect of the exporter or of its libraries: install the versions of "
                    "constraints.txt."
                )
    return records


def _certify_stages(package: Package, model: DiffLL, case: Case, limits: Limits) -> dict[str, Any]:
    """Each graph alone, fed with the reference's own tensors."""
    backend = open_backend("onnxruntime", package, None)
    report: dict[str, Any] = {}
    with torch.inference_mode():
        for name, inputs, expected in _stage_samples(model, case):
            outputs = _run_stage(backend, package.manifest.stage(name), inputs)
            for tensor, found in outputs.items():
                reference = np.asarray(expected[tensor])
                span = float(reference.max() - reference.min()) or 1.0
                worst = float(np.abs(found - reference).max())
                report.setdefault(name, {})[tensor] = {
                    "max_abs_error": worst,
                    "range": span,
                    "psnr_db": round(psnr(reference, found, span), 2),
                }
                if not worst <= limits.relative * span:  # also catches NaN
                    raise CertificateError(
                        f"stage {name}: {tensor} differs from the PyTorch model by {worst:.3g} on a range of "
                        f"{span:.3g} (allowed {limits.relative:g} of it); no package was written. Install the "
                        "versions of constraints.txt."
                    )
    backend.close()
    return report


def _stage_samples(model: DiffLL, case: Case) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(stage, its inputs, the reference's outputs) in tensors, on what a real photo makes the stages see."""
    image = torch.from_numpy(to_tensor(case.photos, model.arch.pad_multiple))
    x_cond, details = model.split(image)
    yield "dwt", {"image": image}, {"x_cond": x_cond} | {f"details{k}": bands for k, bands in enumerate(details)}
    restored = {}
    for k, (hfrm, bands) in enumerate(zip(model.hfrms, details, strict=True)):
        restored[f"restored{k}"] = hfrm(bands)
        yield f"hfrm{k}", {f"details{k}": bands}, {f"restored{k}": restored[f"restored{k}"]}
    table = make_table(schedule()[1].numpy(), NUM_INFERENCE_STEPS)
    generator = torch.Generator().manual_seed(case.seed)
    x_t, history = (torch.randn(x_cond.shape, generator=generator) for _ in range(2))
    for row in (0, len(table) - 1):
        # c2..c4 are zero in DDIM: other values show that the graph applies them too
        coefficients = table.coefficients[row] + np.array([0, 0, 0.25, 0.5, -0.75], np.float32)
        eps = model.Unet(torch.cat((x_cond, x_t), dim=1), torch.tensor([int(table.timesteps[row])]))
        c0, c1, c2, c3, c4 = map(float, coefficients)
        inputs = {"x_t": x_t, "x_cond": x_cond, "history": history}
        inputs |= {"timestep": table.timesteps[row : row + 1], "coefficients": coefficients}
        yield LOOP, inputs, {"x_next": c0 * x_t + c1 * eps + c2 * history, "history_next": c3 * x_t + c4 * eps}
    yield "idwt", {"x_0": x_cond} | restored, {"image": model.merge(x_cond, list(restored.values()))}


def _run_stage(backend: Any, stage: Stage, inputs: dict[str, Any]) -> dict[str, Array]:
    size = stage.inputs[0].photo_size(inputs[stage.inputs[0].name].shape)
    tensors = {}
    for spec in (*stage.inputs, *stage.outputs):
        tensors[spec.name] = backend.buffer(spec, spec.resolve(**size))
        if spec.name in inputs:
            backend.upload(tensors[spec.name], np.asarray(inputs[spec.name]))
    backend.bind(stage.name, tensors)()
    return {spec.name: np.array(backend.download(tensors[spec.name])) for spec in stage.outputs}
