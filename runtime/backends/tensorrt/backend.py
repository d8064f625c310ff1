"""The backend that TensorRT and TensorRT-RTX share: buffers and streams on the GPU, stages bound to them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...package.manifest import TensorSpec
from ...package.reading import Package
from ...planning.traits import Traits
from .. import bfloat16
from ..base import PLAIN, Form, Job, Part, PhotoIO
from . import cuda
from .engines import Engines
from .job import Lane, StageCall, TrtJob
from .library import Library

_PHOTO = "image"  # the tensor that a GPU sharing the host's memory uses where the host has it: it is read once
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class DeviceTensor:
    """Memory on the GPU."""

    memory: cuda.DeviceMemory | cuda.MappedMemory
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @cached_property
    def staging(self) -> NDArray[Any]:
        """The pinned host array that it is copied from or to; of mapped memory the host's view: nothing is copied."""
        if isinstance(self.memory, cuda.MappedMemory):
            return self.memory.host
        return cuda.pinned(self.shape, self.dtype)


class TensorRTBackend:
    """Work goes to the GPU's streams and runs there in order: main, aside (the HFRMs), one for each way of copying."""

    traits = Traits(live=1.0, live_rest=1.0, weights=2.0, device=True)
    converts = False

    def __init__(self, package: Package, library: Library) -> None:
        cuda.require_device()
        self.name = library.target
        self.why = ""
        self._library = library
        self._manifest = package.manifest
        with cuda.first_device():
            self._engines = Engines(package, library)
            self._main, self._aside = Lane(), Lane()
            self._uploads, self._downloads = cuda.Stream(), cuda.Stream()
        self._mapped = _PHOTO if cuda.shares_memory() else ""

    def photo_io(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], image: DeviceTensor, output: DeviceTensor
    ) -> PhotoIO:
        raise NotImplementedError  # no engines for it: the host converts

    @cuda.first_device()
    def buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> DeviceTensor:
        dtype = bfloat16.host_dtype(spec.dtype)
        if spec.name == self._mapped:
            return DeviceTensor(cuda.MappedMemory(shape, dtype), shape, dtype)
        return DeviceTensor(cuda.DeviceMemory(math.prod(shape) * dtype.itemsize), shape, dtype)

    @cuda.first_device()
    def upload(self, buffer: DeviceTensor, array: NDArray[Any]) -> None:
        # a copy before this one may still read the staging array: what it copies is copied over by this one
        bfloat16.fill(buffer.staging, array)
        if isinstance(buffer.memory, cuda.DeviceMemory):
            cuda.copy_to_device(buffer.memory, buffer.staging, self._uploads)

    @cuda.first_device()
    def download(self, buffer: DeviceTensor) -> NDArray[Any]:
        if isinstance(buffer.memory, cuda.DeviceMemory):
            copied = cuda.Event()
            cuda.copy_to_host(buffer.staging, buffer.memory, self._downloads)
            copied.record(self._downloads)
            copied.synchronize()
        return bfloat16.floats(buffer.staging)

    @cuda.first_device()
    def bind(
        self, stage: str, tensors: Mapping[str, DeviceTensor], *, last: bool = True, form: Form = PLAIN
    ) -> StageCall:
        spec = self._manifest.stage(stage)
        shapes = {one.name: tensors[one.name].shape for one in spec.inputs}
        kind = stage, *sorted(shapes.items())
        return StageCall(self._engines.maker(spec, shapes), kind, tensors, self._main)

    @cuda.first_device()
    def sequence(self, parts: Sequence[Part]) -> Job:
        job = TrtJob(parts, self._main, self._aside, self._uploads, self._uncaptured)
        if not job.capturable:
            self._uncaptured(
                "the library says that these engines cannot be captured into a CUDA graph. Engines built by this "
                "version of `python -m export.engine` (--rebuild) can"
            )
        return job

    def _uncaptured(self, reason: str) -> None:
        if not self.why:
            self.why = f"{self.name} runs stage after stage: {reason}"
            _log.info(self.why)

    @cuda.first_device()
    def close(self) -> None:
        try:
            for stream in (self._uploads, self._main.stream, self._aside.stream, self._downloads):
                stream.synchronize()
        finally:
            self._engines.close()
            del self._main, self._aside, self._uploads, self._downloads
