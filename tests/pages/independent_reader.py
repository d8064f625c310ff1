"""Reads and runs a model package by docs/package.md alone: numpy and onnxruntime, nothing of this project.

python tests/pages/independent_reader.py PACKAGE        runs the package's self-test
"""

from __future__ import annotations

import io
import json
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnxruntime as ort

TOLERANCES = {"fp32": 1, "fp16": 4, "bf16": 16, "int8": 64}  # grey levels
DTYPES = {"float32": np.float32, "float16": np.float16, "int32": np.int32}


class Reader:
    """A package in a folder, read by its manifest."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_bytes())
        if self.manifest["format"] != "diffll-package" or self.manifest["format_version"] != 3:
            raise ValueError(f"{folder}: no package of format version 3")
        self.levels = self.manifest["levels"]
        self.bars = np.array(self.manifest["schedule"]["alphas_cumprod"], np.float64)
        self.sessions = {
            stage["name"]: ort.InferenceSession(self.file(stage["file"]), providers=["CPUExecutionProvider"])
            for stage in self.manifest["stages"]
        }

    def file(self, name: str) -> bytes:
        content, listed = (self.folder / name).read_bytes(), self.manifest["files"][name]
        if len(content) != listed["bytes"] or sha256(content).hexdigest() != listed["sha256"]:
            raise ValueError(f"{name} is not the manifest's")
        return content

    def sampling(self, name: str) -> tuple[str, list[int], np.ndarray]:
        """(start, timesteps, coefficients) of one of the package's samplings."""
        one = self.manifest["samplings"][name]
        if one["coefficients"] is not None:
            return one["start"], one["timesteps"], np.array(one["coefficients"], np.float64)
        return one["start"], one["timesteps"], self.ddim(one["timesteps"])

    def steps(self, count: int, sampler: str) -> tuple[str, list[int], np.ndarray]:
        """The same of ``count`` evenly spaced calls."""
        times = [k * len(self.bars) // count for k in reversed(range(count))]
        return "normal", times, self.ddim(times) if sampler == "ddim" else self.dpmpp_2m(times)

    def ddim(self, times: list[int]) -> np.ndarray:
        bars = np.append(self.bars[times], 1.0)
        alpha, sigma = np.sqrt(bars), np.sqrt(1 - bars)
        rows = np.zeros((len(times), 5))
        rows[:, 0] = alpha[1:] / alpha[:-1]
        rows[:, 1] = sigma[1:] - alpha[1:] * sigma[:-1] / alpha[:-1]
        return rows

    def dpmpp_2m(self, times: list[int]) -> np.ndarray:
        bars = np.append(self.bars[times], 1.0)
        alpha, sigma = np.sqrt(bars), np.sqrt(1 - bars)
        h = np.diff(np.append(np.log(alpha[:-1] / sigma[:-1]), np.inf))
        rows = []
        for i, (a, s) in enumerate(zip(alpha[:-1], sigma[:-1], strict=True)):
            factor = alpha[i + 1] * (1 - np.exp(-h[i]))
            k = h[i] / (2 * h[i - 1]) if 0 < i < len(times) - 1 else 0.0
            k = k if k <= 1 else 0.0
            first = factor * (1 + k)
            rows.append((sigma[i + 1] / s + first / a, -first * s / a, -factor * k, 1 / a, -s / a))
        return np.array(rows)

    def noise(self, height: int, width: int, seed: int = 0) -> np.ndarray:
        multiple, below = self.manifest["image"]["pad_multiple"], 2**self.levels
        h, w = (-(-side // multiple) * multiple // below for side in (height, width))
        return np.random.default_rng(seed).standard_normal((3, h, w), dtype=np.float32)

    def run(
        self, photos: np.ndarray, loop: tuple[str, list[int], np.ndarray], noise: np.ndarray | None = None
    ) -> np.ndarray:
        """photos: (B, H, W, 3) uint8 or uint16; noise: x_T for each photo or for all; seed 0 without it."""
        (batch, height, width, _), peak = photos.shape, np.iinfo(photos.dtype).max
        start, times, table = loop
        rows, columns = (reflected(side, self.manifest["image"]["pad_multiple"]) for side in (height, width))
        padded = photos[:, rows][:, :, columns]
        tensors = {"image": np.ascontiguousarray((padded / np.float32(peak)).transpose(0, 3, 1, 2), np.float32)}
        field = self.noise(height, width) if noise is None else noise
        x_t = np.ascontiguousarray(np.broadcast_to(field, (batch, *field.shape[-3:])))
        tensors["x_t"] = x_t if start == "normal" else np.zeros_like(x_t)
        tensors["history"] = np.zeros_like(x_t)
        for stage in self.manifest["stages"]:
            for t, row in zip(times, table, strict=True) if stage["name"] == "denoiser" else [(0, ())]:
                tensors |= {"timestep": np.array([t], np.int32), "coefficients": np.array(row, np.float32)}
                given = {one["name"]: tensors[one["name"]].astype(DTYPES[one["dtype"]]) for one in stage["inputs"]}
                names = [one["name"] for one in stage["outputs"]]
                tensors |= dict(zip(names, self.sessions[stage["name"]].run(names, given), strict=True))
                if stage["name"] == "denoiser":
                    tensors |= {"x_t": tensors["x_next"], "history": tensors["history_next"], "x_0": tensors["x_next"]}
        image = tensors["image"][:, :, :height, :width].transpose(0, 2, 3, 1)
        return np.minimum(np.floor(peak * image + np.float32(0.5)), peak).astype(photos.dtype)

    def self_test(self) -> tuple[int, int]:
        """(largest difference from golden.npz, what is allowed), in grey levels."""
        golden = np.load(io.BytesIO(self.file("golden.npz")), allow_pickle=False)
        found = self.run(golden["photo"][None], self.steps(int(golden["steps"]), "ddim"), golden["noise"])[0]
        worst = int(np.abs(found.astype(int) - golden["expected"]).max())
        return worst, TOLERANCES[self.manifest["precision"]]


def reflected(size: int, multiple: int) -> np.ndarray:
    p = np.arange(-(-size // multiple) * multiple) % max(1, 2 * (size - 1))
    return np.minimum(p, 2 * (size - 1) - p) if size > 1 else 0 * p


if __name__ == "__main__":
    found, allowed = Reader(sys.argv[1]).self_test()
    print(f"largest difference from golden.npz: {found} grey levels, {allowed} allowed")
    sys.exit(found > allowed)
