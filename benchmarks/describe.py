"""A measurement -> its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.image import psnr
from runtime.names import PUBLISHED

from .configs import Config, certificate
from .job import SEED, TF32
from .loops import sampling_of
from .measure import Measurement, step_medians
from .origin import origin
from .records import Record, digest
from .stats import UNSTEADY, drift, latency, medians, variation

BATCH = 1
_NUMBERS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}


def key_of(config: Config, fingerprint: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The id of the configuration's record: a digest of everything that makes it what it is."""
    job = config.job
    what = [config.subject, config.size, BATCH, job.steps, job.sampler, fingerprint, settings]
    if job.sampling in ("", PUBLISHED):  # as before there were samplings: earlier records keep their ids
        return digest(what)
    sampling = sampling_of(config.package.manifest, job.loop)
    return digest([*what, sampling.name, sampling.timesteps, sampling.start, sampling.coefficients])


def head(config: Config, fingerprint: Mapping[str, Any], settings: Mapping[str, Any]) -> Record:
    """The fields that every record has, also of what did not fit or failed."""
    manifest = config.package.manifest
    is_package = config.job.kind == "package"
    return {
        "id": key_of(config, fingerprint, settings),
        "subject": config.subject,
        "name": config.package.path.absolute().name if is_package else f"{config.job.kind} {config.job.variant}",
        "certificate": certificate(config.package) if is_package else None,
        "architecture": origin(config.package).architecture,
        "size": list(config.size),
        "padded_size": list(config.padded),
        "batch": BATCH,
        "steps": config.job.steps,
        "sampler": config.job.sampler,
        "sampling": config.job.sampling or None,
        "calls": config.job.steps,
        "noise_seed": SEED if sampling_of(manifest, config.job.loop).start == "normal" else None,
        "fingerprint": dict(fingerprint),
        "settings": dict(settings),
    }


def unfit(record: Record, needed: int, free: int) -> Record:
    return record | {"fits": False, "needed_bytes": needed, "free_bytes": free}


def failed(record: Record, one: Measurement, needed: int | None) -> Record:
    """Records are published: the folder that the package lies in is this machine's own."""
    path = one.config.package.path.absolute()
    return record | {"failed": one.failed.replace(str(path), path.name), "needed_bytes": needed}


def measured(record: Record, one: Measurement, run: Mapping[str, Any], needed: int) -> Record:
    """run: what the configurations of one group share (see docs/benchmarks.md)."""
    pixels = one.config.size[0] * one.config.size[1]
    times = latency(one.rounds)
    changed, unsteady = drift(one.rounds), variation(one.rounds)
    flags = [f"unsteady: coefficient of variation {unsteady:.1%}"] if unsteady > UNSTEADY else []
    flags += [f"drift: {changed:+.1%} from the first to the last third"] if abs(changed) > UNSTEADY else []
    return record | {
        "runs": one.opening["runs"],
        "why": one.opening["why"],
        "plan": one.opening["plan"],
        "run": dict(run),
        "latency_ms": times,
        "rounds_ms": one.rounds,
        "coefficient_of_variation": unsteady,
        "drift": changed,
        "flags": flags,
        "opening_ms": round(one.opening["opening_ms"], 1),
        "first_photo_ms": round(one.first_photo_ms, 1),
        "warm_up_photos": one.warm_up_photos,
        "stages_ms": medians(one.stages),
        "step_ms": step_medians(one.steps),
        "photos_per_s": round(BATCH * 1000 / times["mean"], 4),
        "megapixels_per_s": round(BATCH * pixels / 1000 / times["mean"], 4),
        "memory": {
            "host_peak_bytes": one.memory["host_peak_bytes"],
            "host_opened_bytes": one.opening["opened_bytes"],
            "host_how": "VmHWM and VmRSS of the configuration's own process",
            "device_peak_bytes": one.memory["device_peak_bytes"],
            "device_how": "growth of the GPU's used memory from before the opening to the end of the warm-up (NVML, "
            "every 2 ms)"
            if one.memory["device_peak_bytes"] is not None
            else "no NVML here",
            "predicted_bytes": needed,
        },
        "quality": None if one.scores is None else _quality(one.scores),
    }


def speed(record: Record, flop: int, peak: Mapping[str, Any]) -> Record:
    """GFLOP of the photo, and what share of the measured peak of the record's number type was reached.

    flop: of the network, for the baselines too. On a GPU an fp32 package is computed in TF32: engines do
    so unless told otherwise. Where the type was not measured (int8, or fp16 on a CPU, which computes in float32) the
    peak is float32's.
    """
    gflop = flop / 1e9
    rate = gflop / record["latency_ms"]["p50"] * 1000
    runs = f"{record['subject'].get('provider') or ''} {record['runs']}".lower()
    device = "cuda" if any(word in runs for word in ("cuda", "tensorrt")) else "cpu"
    peaks = peak[device] or {}
    kind = _NUMBERS[record["subject"]["precision"]]
    if device == "cuda" and kind == "float32" and record["subject"].get("variant") in (None, TF32):
        kind = "tf32"
    kind = kind if kind in peaks else "float32"
    return record | {
        "gflop": round(gflop, 3),
        "gflop_per_s": round(rate, 2),
        "peak": {"gflop_per_s": peaks.get(kind), "number_type": kind, "device": device, "how": peak["how"]},
        "share_of_peak": round(rate / peaks[kind], 4) if kind in peaks else None,
    }


def fidelity(picture: Path, reference: Path, name: str) -> dict[str, Any]:
    """PSNR (None for equal pictures) and the largest difference in grey levels. name: of the reference's record."""
    a, b = np.load(reference), np.load(picture)
    worst = int(np.abs(a.astype(np.int16) - b).max())
    return {"against": name, "psnr_db": round(psnr(a, b, 255), 3) if worst else None, "grey_levels": worst}


def _quality(scores: Mapping[str, list[float]]) -> dict[str, Any]:
    return {
        "psnr_db": round(float(np.mean([one[0] for one in scores.values()])), 3),
        "ssim": round(float(np.mean([one[1] for one in scores.values()])), 4),
        "photos": {name: [round(value, 4) for value in one] for name, one in scores.items()},
    }
