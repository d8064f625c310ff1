"""The one model of the Open Inference Protocol: its names, tensors and metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NAME, VERSION = "diffll", "1"


@dataclass(frozen=True)
class Kind:
    """A way in which a picture comes and goes. A request has one input, and one output of the same kind."""

    input: str
    output: str
    datatype: str
    shape: tuple[int, ...]
    means: str


KINDS = (
    Kind("image", "enhanced", "BYTES", (1,), "an encoded photo: JPEG, PNG, TIFF, WebP or BMP (base64 text in JSON)"),
    Kind("image_uint8", "enhanced_uint8", "UINT8", (-1, -1, 3), "height, width, RGB, 0 to 255"),
    Kind("image_float32", "enhanced_float32", "FP32", (3, -1, -1), "RGB, height, width, 0 to 1 (16 bits inside)"),
)
PARAMETERS = {
    "sampling": "one of samplings",
    "format": "of the output `enhanced`: jpg, png, tiff, webp, bmp; default: the photo's own",
    "quality": "1 to 100, of jpg and webp; default: 95",
}


def metadata(info: dict[str, Any]) -> dict[str, Any]:
    """Of the model that really runs; info: what the engine worker told."""
    return {
        "name": NAME,
        "versions": [VERSION],
        "platform": f"diffll_{info['backend'].replace('-', '_')}",
        "inputs": [_tensor(one.input, one) for one in KINDS],
        "outputs": [_tensor(one.output, one) for one in KINDS],
        "parameters": {
            "use": "give exactly one input; the output has the same kind and size",
            "tensors": {one.input: one.means for one in KINDS},
            "request_parameters": PARAMETERS,
            **info,
        },
    }


def _tensor(name: str, kind: Kind) -> dict[str, Any]:
    return {"name": name, "datatype": kind.datatype, "shape": list(kind.shape)}
