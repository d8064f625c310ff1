"""The baseline ``pytorch``: the project's PyTorch model as a PyTorch user would run it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.checkpoint import load_checkpoint
from runtime.image import to_pixels, to_tensor
from runtime.machine.cores import usable_cores
from runtime.names import LOOP
from runtime.package.reading import Package
from runtime.running.laps import Laps

from .job import TF32, Job, Photo, noise
from .loops import sampling_of


class PyTorchRunner:
    """Eager mode in float32, with a GPU's TF32 or without it, eager mode under autocast, or with the UNet compiled by
    ``torch.compile`` (the first photo compiles). On the GPU where this build of torch sees one, else on the CPU."""

    why = plan = ""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(usable_cores())
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        # PyTorch's own choice is TF32 for convolutions and float32 for products: neither of the two that are compared.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = job.variant == TF32
        self._model = load_checkpoint(job.checkpoint).model().to(self._device)
        mode, _, precision = job.variant.partition(" ")
        if mode == "compile":
            # Not the HFRMs: torch 2.13's compiler takes their row attention for another form and fails on its shapes.
            self._model.Unet.compile()
        self._autocast = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self._sampling = sampling_of(Package.open(job.package).manifest, job.loop)
        self.name = f"{self._device} {job.variant}"
        self.stages: dict[str, float] = {}
        self.step_ms: list[float] = []

    def run(self, photo: Photo) -> Photo:
        model, laps = self._model, Laps()
        height, width, _ = photo.shape
        with laps.part("pad"):
            padded = to_tensor(photo[None], model.arch.pad_multiple)
        with torch.inference_mode(), self._precision(), self._on_device():
            with laps.part("upload"):
                image = torch.from_numpy(padded).to(self._device)
                x_t = torch.from_numpy(self._start(padded)).to(self._device)
            with laps.part("dwt"):
                x_cond, details = model.split(image)
            restored = []
            for level, (hfrm, bands) in enumerate(zip(model.hfrms, details, strict=True)):
                with laps.part(f"hfrm{level}"):
                    restored.append(hfrm(bands).float())
            with laps.part(LOOP):
                x_0 = model.sample(x_cond, x_t, self._sampling.timesteps, self._sampling.coefficients)
            with laps.part("idwt"):
                bright = model.merge(x_0, restored)
            with laps.part("download"):
                output = bright.float().cpu().numpy()  # waits for the GPU
        with laps.part("crop"):
            pixels: Photo = to_pixels(output, height, width, photo.dtype)[0]
        # A GPU's stages are only enqueued by their calls: their laps would say nothing.
        self.stages = laps.ms if self._device == "cpu" else {}
        return pixels

    def _start(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """x_T for an image (1, 3, Hp, Wp)."""
        x_t = noise(self._model.arch.levels, image)
        return np.zeros_like(x_t) if self._sampling.start == "zero" else x_t

    def _precision(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._autocast is None else torch.autocast(self._device, self._autocast)

    def _on_device(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._device == "cpu" else torch.device(self._device)
