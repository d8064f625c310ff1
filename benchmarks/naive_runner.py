"""The baseline ``naive-onnx``: plainly traced graphs in onnxruntime sessions with default options."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from runtime.engines.libraries import loading
from runtime.image import to_pixels, to_tensor
from runtime.names import LOOP
from runtime.package.reading import Package
from runtime.running.laps import Laps

from .job import Job, Photo, noise
from .naive_trace import UNROLLED

with loading("onnxruntime"):
    import onnxruntime as ort

Array = NDArray[np.float32]


class NaiveRunner:
    """``stages``: one ``session.run`` a stage and step, DDIM in numpy between them. ``unrolled``: one graph with the
    whole loop. Every tensor between two runs is a numpy array on the host."""

    name, why, plan = "onnxruntime", "", ""

    def __init__(self, job: Job) -> None:
        ort.set_default_logger_severity(3)
        folder = Path(job.traces)
        self._sessions = {path.stem: ort.InferenceSession(path) for path in sorted(folder.glob("*.onnx"))}
        self._unrolled = job.variant == UNROLLED
        self._manifest = Package.open(job.package).manifest
        self._steps = job.steps
        self.stages: dict[str, float] = {}
        self.step_ms: list[float] = []

    def run(self, photo: Photo) -> Photo:
        laps = Laps()
        height, width, _ = photo.shape
        with laps.part("pad"):
            image = to_tensor(photo[None], self._manifest.pad_multiple)
            x_t = noise(self._manifest.levels, image)
        if self._unrolled:
            with laps.part("graph"):
                (bright,) = self._run(UNROLLED, image, x_t)
        else:
            with laps.part("dwt"):
                x_cond, *details = self._run("dwt", image)
            restored = []
            for level, bands in enumerate(details):
                with laps.part(f"hfrm{level}"):
                    restored += self._run(f"hfrm{level}", bands)
            x_0 = self._sample(x_cond, x_t, laps)
            with laps.part("idwt"):
                (bright,) = self._run("idwt", x_0, *restored)
        with laps.part("crop"):
            pixels: Photo = to_pixels(bright, height, width, photo.dtype)[0]
        self.stages, self.step_ms = laps.ms, laps.steps
        return pixels

    def _sample(self, x_cond: Array, x: Array, laps: Laps) -> Array:
        """DDIM with eta = 0, written out."""
        stride = self._manifest.num_train_timesteps // self._steps
        alphas = np.asarray(self._manifest.alphas_cumprod, np.float32)
        for t in reversed(range(0, self._manifest.num_train_timesteps, stride)):
            started = perf_counter_ns()
            alpha, alpha_next = alphas[t], alphas[t - stride] if t else np.float32(1)
            (eps,) = self._run("unet", np.concatenate((x_cond, x), axis=1), np.array([t]))
            x_0 = (x - eps * np.sqrt(1 - alpha)) / np.sqrt(alpha)
            x = np.sqrt(alpha_next) * x_0 + np.sqrt(1 - alpha_next) * eps
            laps.add([(LOOP, (perf_counter_ns() - started) / 1e6)])
        return x

    def _run(self, name: str, *inputs: NDArray[np.generic]) -> list[Array]:
        session = self._sessions[name]
        names = [node.name for node in session.get_inputs()]
        found: list[Array] = session.run(None, dict(zip(names, inputs, strict=True)))
        return found
