"""Triton's python backend runs this file: it hosts the runtime, which lies beside it as ``diffll``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton
from diffll import DiffLLError, Enhancer, InputError
from diffll.photo import SUFFIXES, encode_photo, read_photo


class TritonPythonModel:
    """One engine; Triton's queue is before it."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = {name: one["string_value"] for name, one in json.loads(args["model_config"])["parameters"].items()}
        self._sampling, self._max_pixels = parameters["sampling"], int(parameters["max_pixels"])
        package = Path(args["model_repository"], args["model_version"], "package")
        self._enhancer = Enhancer.open(package, backend=parameters["backend"])
        self._enhancer.self_test()

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            content = triton.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1)[0]
            bright = self._enhance(content, json.loads(request.parameters() or "{}"))
        except DiffLLError as error:
            code = triton.TritonError.INVALID_ARG if isinstance(error, InputError) else triton.TritonError.INTERNAL
            return triton.InferenceResponse(error=triton.TritonError(str(error), code))
        return triton.InferenceResponse([triton.Tensor("enhanced", np.array([bright], dtype=object))])

    def _enhance(self, content: bytes, options: dict[str, Any]) -> bytes:
        kind, quality = options.get("format"), options.get("quality")
        if kind is not None and (kind := SUFFIXES.get(f".{kind}".lower())) is None:
            raise InputError(f"the format {options['format']!r} is not known.")
        if quality is not None and type(quality) is not int:
            raise InputError(f"the quality {quality!r} is not a whole number from 1 to 100.")
        photo = read_photo(content, max_pixels=self._max_pixels, into=kind)
        pixels = self._enhancer(photo.pixels, sampling=options.get("sampling", self._sampling))
        bright: bytes = encode_photo(photo.with_pixels(pixels), kind or photo.format, quality=quality)
        return bright

    def finalize(self) -> None:
        self._enhancer.close()
