"""Inference requests of the Open Inference Protocol, version 2, and their answers: JSON, and its extension for binary
tensors (https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md)."""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError

from .model import KINDS, NAME, VERSION, Kind

HEADER_LENGTH = "inference-header-content-length"
_DTYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype("<f4")}
_LENGTH = struct.Struct("<I")  # before every element of a BYTES tensor


@dataclass(frozen=True)
class InferRequest:
    """One request: its one input, and how the output is wanted."""

    kind: Kind
    shape: tuple[int, ...]
    data: bytes | list[Any]
    """The binary tensor, or what stood in the JSON."""
    parameters: dict[str, Any]
    id: str | None
    binary: bool
    """The output as a binary tensor."""

    def photo(self) -> bytes:
        """The encoded photo of a BYTES tensor."""
        if isinstance(self.data, bytes):
            if len(self.data) < 4 or _LENGTH.unpack_from(self.data)[0] != len(self.data) - 4:
                raise InputError("the input `image` is not one element with its length of 4 bytes before it.")
            return self.data[4:]
        if len(self.data) != 1 or not isinstance(self.data[0], str):
            raise InputError("the input `image` in JSON is one text: the photo in base64.")
        try:
            return base64.b64decode(self.data[0], validate=True)
        except (binascii.Error, ValueError) as error:
            raise InputError(f"the input `image` is not base64 ({error}); or send it as a binary tensor.") from error

    def size(self) -> tuple[int, int]:
        """Width and height of a tensor of pixels."""
        *_, first, second, third = self.shape
        return (second, first) if self.kind.datatype == "UINT8" else (third, second)

    def pixels(self) -> NDArray[Any]:
        """(H, W, 3), uint8, or uint16 where the tensor is of floats."""
        dtype, count = _DTYPES[self.kind.datatype], math.prod(self.shape)
        if isinstance(self.data, bytes):
            if len(self.data) != count * dtype.itemsize:
                what = f"{len(self.data):,} bytes; its shape asks for {count * dtype.itemsize:,}"
                raise InputError(f"the input `{self.kind.input}` has {what}.")
            values: NDArray[Any] = np.frombuffer(self.data, dtype)
        else:
            values = self._numbers(dtype)
            if values.size != count:
                what = f"{values.size:,} numbers; its shape asks for {count:,}"
                raise InputError(f"the input `{self.kind.input}` has {what}.")
        values = values.reshape(self.shape[-3:])
        if self.kind.datatype == "UINT8":
            return values
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise InputError(f"the input `{self.kind.input}` has values outside of 0 to 1; divide by 255 first.")
        return np.ascontiguousarray(np.round(values.transpose(1, 2, 0) * np.float32(65535)).astype(np.uint16))

    def _numbers(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        try:
            values = np.asarray(self.data)
        except ValueError as error:
            raise InputError(f"the input `{self.kind.input}` has rows of different lengths.") from error
        whole = dtype == np.uint8
        if values.dtype.kind not in ("iu" if whole else "iuf") or (
            whole and not 0 <= values.min() <= values.max() < 256
        ):
            wanted = "whole numbers from 0 to 255" if whole else "numbers"
            raise InputError(f"the data of the input `{self.kind.input}` are not {wanted}.")
        return values.astype(dtype)

    def answer(self, result: bytes | NDArray[Any]) -> tuple[bytes, dict[str, str]]:
        """Body and headers for a photo's file, or (H, W, 3) pixels of the input's kind."""
        output: dict[str, Any] = {"name": self.kind.output, "datatype": self.kind.datatype, "shape": list(self.shape)}
        head: dict[str, Any] = {"model_name": NAME, "model_version": VERSION, "outputs": [output]}
        if self.id is not None:
            head["id"] = self.id
        if isinstance(result, bytes):
            tensor = _LENGTH.pack(len(result)) + result
        else:
            values = result
            if self.kind.datatype == "FP32":
                values = (result.transpose(2, 0, 1) / np.float32(65535)).astype("<f4")
            tensor = values.tobytes()
        if self.binary:
            output["parameters"] = {"binary_data_size": len(tensor)}
            text = json.dumps(head).encode()
            kind = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
            return text + tensor, kind
        output["data"] = (
            [base64.b64encode(result).decode()] if isinstance(result, bytes) else values.reshape(-1).tolist()
        )
        return json.dumps(head).encode(), {"content-type": "application/json"}


def parse(content: bytes, json_bytes: int | None) -> InferRequest:
    """The request of a body. json_bytes: how many of it are JSON, before binary tensors; None: all. Raises
    InputError."""
    if json_bytes is not None and not 0 <= json_bytes <= len(content):
        raise InputError(f"Inference-Header-Content-Length is {json_bytes} and the body has {len(content)} bytes.")
    text = content if json_bytes is None else content[:json_bytes]
    try:
        body = json.loads(text)
    except ValueError as error:
        raise InputError(f"the body is not JSON ({error}); see docs/serving.md for a request.") from error
    except RecursionError:
        raise InputError("the body's JSON is nested too deeply.") from None
    if not isinstance(body, dict):
        raise InputError("the body's JSON is not an object with `inputs`.")
    given, parameters = body.get("inputs"), body.get("parameters", {})
    names = ", ".join(one.input for one in KINDS)
    if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], dict):
        raise InputError(f"one input is wanted, in a list `inputs`: {names}.")
    if not isinstance(parameters, dict) or not isinstance(given[0].get("parameters", {}), dict):
        raise InputError("`parameters` is not an object.")
    kind = next((one for one in KINDS if one.input == given[0].get("name")), None)
    if kind is None:
        raise InputError(f"the input {given[0].get('name')!r} is not known; use one of {names}.")
    if given[0].get("datatype") != kind.datatype:
        raise InputError(
            f"the input `{kind.input}` has the datatype {kind.datatype}, not {given[0].get('datatype')!r}."
        )
    identity = body.get("id")
    return InferRequest(
        kind=kind,
        shape=_shape(given[0].get("shape"), kind),
        data=_data(given[0], kind, content[len(text) :]),
        parameters=parameters,
        id=None if identity is None else str(identity),
        binary=_wants_binary(body, kind, parameters),
    )


def _shape(given: Any, kind: Kind) -> tuple[int, ...]:
    """With one more axis of 1 in front allowed, as hosts of batches send it."""
    good = isinstance(given, list) and all(type(side) is int and 0 < side < 1 << 24 for side in given)
    if good:
        inner = given[1:] if len(given) == len(kind.shape) + 1 and given[0] == 1 else given
        good = len(inner) == len(kind.shape)
        good = good and all(want in (-1, side) for want, side in zip(kind.shape, inner, strict=True))
    if not good:
        raise InputError(
            f"the input `{kind.input}` has the shape {given}; wanted: {list(kind.shape)}, -1 for any size."
        )
    return tuple(given)


def _data(given: dict[str, Any], kind: Kind, binary: bytes) -> bytes | list[Any]:
    size = given.get("parameters", {}).get("binary_data_size")
    if size is None:
        if binary:
            raise InputError("bytes follow the JSON and no input has `binary_data_size`.")
        if not isinstance(given.get("data"), list):
            raise InputError(f"the input `{kind.input}` has neither `data` nor `binary_data_size`.")
        return list(given["data"])
    if size != len(binary):
        raise InputError(
            f"the input `{kind.input}` has binary_data_size {size!r}; {len(binary)} bytes follow the JSON."
        )
    return binary


def _wants_binary(body: dict[str, Any], kind: Kind, parameters: dict[str, Any]) -> bool:
    default = parameters.get("binary_data_output", False) is True
    outputs = body.get("outputs")
    if not outputs:
        return default
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        raise InputError(f"one output is given for the input `{kind.input}`: `{kind.output}`.")
    if outputs[0].get("name") != kind.output:
        raise InputError(f"the output {outputs[0].get('name')!r} is not that of `{kind.input}`; use `{kind.output}`.")
    own = outputs[0].get("parameters", {})
    return bool(own.get("binary_data", default)) if isinstance(own, dict) else default
