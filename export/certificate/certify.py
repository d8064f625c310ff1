"""A package against the PyTorch reference: stage by stage and end to end -> the certificate.

The package side runs through the runtime exactly as on a user's machine; the reference side is the model of
``export.model`` in float32, with its own wavelets, its own step-by-step DDIM formula and the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from runtime.backends import open_backend
from runtime.enhancer import Enhancer
from runtime.errors import DiffLLError
from runtime.image import Pixels, psnr, to_pixels, to_tensor
from runtime.machine.leftovers import scratch_folder
from runtime.names import LOOP
from runtime.package.reading import Package
from runtime.package.sampling import Sampling
from runtime.sampler import evenly_spaced, make_table

from ..model import DiffLL
from ..model.diffll import NUM_INFERENCE_STEPS, schedule
from ..passes.emulate import emulated_package
from .cases import Case

_PER_LEVEL = 257  # 16-bit steps in one of 255 grey levels
_CURE = (
    "no package was written. This is a defect of the exporter or of its libraries: install the versions of "
    "constraints.txt."
)


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
    with scratch_folder("build") as temporary:
        if package.manifest.precision == "bf16":
            package = emulated_package(package, temporary / "twin")
            engine += " in float32, every bfloat16 result rounded (passes.emulate)"
        limits = LIMITS[package.manifest.precision]
        return {
            "reference": "PyTorch float32, this project's model, eager mode on the CPU",
            "limits": vars(limits),
            "stages": _certify_stages(package, model, cases[0], limits),
            "end_to_end": _certify_photos(package, model, cases, limits),
            "engine": engine,
        }


def reference(model: DiffLL, photos: Pixels, x_t: NDArray[np.float32], sampling: Sampling) -> Pixels:
    """What the PyTorch model makes of ``photos``, (B, H, W, 3) uint8 or uint16 RGB, from ``x_t``, which is x_T, (B, 3,
    Hp/2^K, Wp/2^K) for the padded size: the same shape and dtype."""
    image = torch.from_numpy(to_tensor(photos, model.arch.pad_multiple))
    with torch.inference_mode():
        restored = model(image, torch.from_numpy(x_t), sampling.timesteps, sampling.coefficients).numpy()
    return to_pixels(restored, photos.shape[1], photos.shape[2], photos.dtype)


def _certify_photos(package: Package, model: DiffLL, cases: Sequence[Case], limits: Limits) -> list[dict[str, Any]]:
    records = []
    with Enhancer.open(package.path) as enhancer:
        for sampling, case in product(package.manifest.samplings.values(), cases):
            # 16 bits in and out: the same values, and an error that 8 bits would round away still shows
            photos = case.photos.astype(np.uint16) * _PER_LEVEL
            batch, height, width, _ = photos.shape
            shape = (batch, *enhancer.noise_shape(height, width))
            from_zero = sampling.start == "zero"
            noise = np.random.default_rng(case.seed).standard_normal(shape, np.float32)
            # whole: a plan may approximate attention on a photo that is large for its network
            plan = enhancer.plan(width, height, sampling=sampling.name, batch=batch, dtype=photos.dtype, kind="whole")
            result = enhancer(photos, sampling=sampling.name, noise=None if from_zero else noise, plan=plan)
            expected = reference(model, photos, 0 * noise if from_zero else noise, sampling)
            levels = float(np.abs(result.astype(np.int32) - expected).max()) / _PER_LEVEL
            psnr_db = round(psnr(expected, result, 65535), 2)
            records.append(
                {
                    "photos": case.source,
                    "size": f"{width}x{height}",
                    "batch": batch,
                    "sampling": sampling.name,
                    "noise": "none, x_T is zero"
                    if from_zero
                    else f"numpy default_rng({case.seed}).standard_normal, float32",
                    "steps": sampling.calls,
                    "grey_levels": round(levels, 4),
                    "psnr_db": psnr_db,
                }
            )
            if levels > limits.grey_levels or psnr_db < limits.psnr_db:
                raise CertificateError(
                    f"the package differs from the PyTorch model on {width}x{height} x {batch}, sampling "
                    f"{sampling.name!r}: {levels:.2f} grey levels, PSNR {psnr_db} dB (allowed {limits.grey_levels}, at "
                    f"least {limits.psnr_db}); {_CURE}"
                )
    return records


def _certify_stages(package: Package, model: DiffLL, case: Case, limits: Limits) -> dict[str, Any]:
    """Each graph alone, fed with the reference's own tensors."""
    backend = open_backend("onnxruntime", package, None)
    report: dict[str, Any] = {}
    with torch.inference_mode():
        for name, inputs, expected in _stage_samples(model, case):
            stage = package.manifest.stage(name)
            size = stage.inputs[0].photo_size(inputs[stage.inputs[0].name].shape)
            tensors = {spec.name: backend.buffer(spec, spec.resolve(**size)) for spec in stage.tensors.values()}
            for tensor, value in inputs.items():
                backend.upload(tensors[tensor], np.asarray(value))
            backend.bind(name, tensors)()
            for tensor, value in expected.items():
                wanted, found = np.asarray(value), np.array(backend.download(tensors[tensor]))
                span = float(wanted.max() - wanted.min()) or 1.0
                worst = float(np.abs(found - wanted).max())
                report.setdefault(name, {})[tensor] = {
                    "max_abs_error": worst,
                    "range": span,
                    "psnr_db": round(psnr(wanted, found, span), 2),
                }
                if not worst <= limits.relative * span:  # also catches NaN
                    raise CertificateError(
                        f"stage {name}: {tensor} differs from the PyTorch model by {worst:.3g} on a range of "
                        f"{span:.3g} (allowed {limits.relative:g} of it); {_CURE}"
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
    table = make_table(schedule()[1].numpy(), evenly_spaced(schedule()[1].numpy(), NUM_INFERENCE_STEPS))
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
