"""Records as the command writes them."""

from __future__ import annotations

from typing import Any

MACHINE = {
    "platform": "Linux x86_64", "processor": "A processor", "features": [], "cores_used": 2, "memory_mib": 1000,
    "gpu": None, "power_mode": None, "python": "3.11", "diffll": "0", "libraries": {"onnxruntime": "9.9", "torch": "8"},
}  # fmt: skip


def record(name: str, times: list[float], *, size: tuple[int, int] = (600, 400), steps: int = 10, group: str = "g",
           gpu: str | None = None, sampling: str = "", **changes: Any) -> dict[str, Any]:  # fmt: skip
    """A record as the command writes it: one photo a round."""
    baseline = name.startswith(("pytorch", "naive"))
    kind, _, variant = name.partition(" ")
    subject: dict[str, Any] = {"kind": kind, "variant": variant} if baseline else {"kind": "package", "backend": kind}
    subject |= {} if baseline else {"provider": None, "package_sha256": "0"}
    subject["checkpoint_sha256"] = "1"
    middle = sorted(times)[len(times) // 2]
    parts = {"dwt": 0.1 * middle, "denoiser": 0.9 * middle}
    sampling = sampling or ("published" if steps == 10 else "")
    device = {"name": gpu, "driver": "1", "driver_cuda": "13.0", "compute_capability": "9.0", "integrated": False}
    made = {
        "schema": 1, "id": f"{name}{size}{steps}{gpu}{sampling}", "name": name if baseline else "pkg",
        "size": list(size), "padded_size": list(size), "batch": 1, "steps": steps, "sampler": "ddim",
        "certificate": None, "calls": steps, "sampling": sampling or None,
        "subject": subject | {"precision": "bf16" if "bf16" in name else "fp32"}, "architecture": {},
        "fingerprint": MACHINE | {"gpu": device if gpu else None}, "runs": kind, "why": "", "plan": "",
        "settings": {"rounds": len(times), "photo": "synthetic, seed 2023"},
        "run": {"started": "2026-11-28", "members": [], "group": group,
                "before": {"load": 0.5}, "after": {"load": 1.5}},
        "warm_up_photos": 2, "noise_seed": 0,
        "latency_ms": {"p50": middle, "p90": max(times), "p99": max(times), "mean": middle, "min": min(times),
                       "max": max(times), "photos": len(times)},
        "rounds_ms": [[one] for one in times], "coefficient_of_variation": 0.0, "drift": 0.0, "flags": [],
        "opening_ms": 77.0, "first_photo_ms": 88.0, "stages_ms": parts, "step_ms": [0.09 * middle] * 10,
        "photos_per_s": 1000 / middle, "megapixels_per_s": size[0] * size[1] / 1000 / middle,
        "memory": {"host_peak_bytes": 300 << 20, "host_opened_bytes": 200 << 20, "host_how": "VmHWM",
                   "device_peak_bytes": None, "device_how": "no NVML here", "predicted_bytes": 400 << 20},
        "quality": None, "gflop": 718.5, "gflop_per_s": 718500 / middle, "share_of_peak": 0.42,
        "peak": {"gflop_per_s": 300.0, "number_type": "float32", "device": "cpu", "how": "numpy"},
        "fidelity": {"against": "x", "psnr_db": 61.25, "grey_levels": 3},
        "fidelity_to_published_steps": {"against": "x", "psnr_db": None, "grey_levels": 0},
    }  # fmt: skip
    return made | changes


def unfit(one: dict[str, Any]) -> dict[str, Any]:
    """What is recorded where a configuration does not fit into memory."""
    return {name: one[name] for name in _ALWAYS} | {"fits": False, "needed_bytes": 2 << 30, "free_bytes": 1 << 30}


def failed(one: dict[str, Any]) -> dict[str, Any]:
    return {name: one[name] for name in _ALWAYS} | {"failed": "no compiler", "needed_bytes": None}


_ALWAYS = (
    "schema", "id", "subject", "name", "certificate", "architecture", "size", "padded_size", "batch", "steps",
    "sampler", "sampling", "calls", "noise_seed", "fingerprint", "settings",
)  # fmt: skip
