"""Photos in and out of an onnxruntime device as they are: a quarter of the bytes, and no conversions on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ...errors import DiffLLError
from ..base import Call
from ..host import run_failure
from .owner import Owner
from .photo_graph import IMAGE, PHOTOS, RESIDUE, crop_graph, pad_graph

Opener = Callable[[bytes], ort.InferenceSession]


class OrtPhotoIO:
    """Buffers and calls for photos (B, H, W, 3) of one size and dtype. image, output: the network's, on the device."""

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], multiple: int, image: ort.OrtValue, output: ort.OrtValue,
        open_session: Opener, owner: Owner,
    ) -> None:  # fmt: skip
        self._owner, device = owner, image.device_name()
        self._on_host = device == "cpu"

        def buffer(sizes: tuple[int, ...], kind: Any) -> ort.OrtValue:
            with owner.capturing:
                return ort.OrtValue.ortvalue_from_shape_and_type(sizes, kind, device, 0)

        self._photos, self._bright = buffer(shape, dtype.type), buffer(shape, dtype.type)
        self._residue = buffer((1, 1, 1, 1), np.float32)
        into, out_of = (make(shape, dtype.name, multiple) for make in (pad_graph, crop_graph))
        self.pad = self._bind(open_session(into), {PHOTOS: self._photos, IMAGE: image})
        made = {PHOTOS: self._bright, RESIDUE: self._residue}
        self.crop = self._bind(open_session(out_of), {IMAGE: output} | made)

    def _bind(self, session: ort.InferenceSession, tensors: dict[str, ort.OrtValue]) -> Call:
        binding = session.io_binding()
        for node in session.get_inputs():
            binding.bind_ortvalue_input(node.name, tensors[node.name])
        for node in session.get_outputs():
            binding.bind_ortvalue_output(node.name, tensors[node.name])

        def call(_kept: object = tensors) -> None:
            try:
                session.run_with_iobinding(binding)
            except Exception as error:  # onnxruntime's exceptions share no base but Exception
                failure: DiffLLError = run_failure("onnxruntime", "the photo's conversion", error)
                raise failure from error

        return call

    def upload(self, photos: NDArray[Any]) -> None:
        content = np.ascontiguousarray(photos)
        with self._owner.capturing:
            self._photos.update_inplace(content)

    def download(self) -> tuple[NDArray[Any], bool]:
        with self._owner.capturing:
            photos, residue = self._bright.numpy(), self._residue.numpy()
        own = photos.copy() if self._on_host else photos  # a view of the host's own memory, a copy of a device's
        return own, float(residue.ravel()[0]) == 0.0
