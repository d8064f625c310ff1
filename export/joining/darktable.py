"""The file that darktable 5.6 installs: a zip of a folder with ``config.json`` and ``model.onnx``."""

from __future__ import annotations

import io
import json
import zipfile

import onnx

from runtime.names import __version__

_ID = "denoise-diffll"
_MADE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: the same package gives the same bytes
_CARD = {
    "long_description": "DiffLL, Low-Light Image Enhancement with Wavelet-based Diffusion Models (SIGGRAPH Asia 2023)",
    "source": "https://github.com/JianghaiSCU/Diffusion-Low-Light",
}


def dtmodel(model: onnx.ModelProto) -> bytes:
    """The .dtmodel of a joined graph, which reads the photo alone. darktable lists it among its models for denoising,
    which get an sRGB picture and give one of the same size."""
    found = {one.key: one.value for one in model.metadata_props}
    config = {
        "id": _ID,
        "name": "DiffLL low light",
        "description": f"brightens dark photos; sampling {found['sampling']}, {found['precision']}",
        "task": "denoise",
        "backend": "onnx",
        "version": __version__,
        "num_inputs": 1,
        "tiling": True,
        "model_card": _CARD | {"license": found["licence"], "notes": f"checkpoint {found['checkpoint_sha256']}"},
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in (
            ("config.json", json.dumps(config, indent=1).encode()),
            ("model.onnx", model.SerializeToString(deterministic=True)),
        ):
            archive.writestr(zipfile.ZipInfo(f"{_ID}/{name}", _MADE), data, zipfile.ZIP_DEFLATED)
    return content.getvalue()
