"""A package and one of its samplings -> one ONNX graph, image to image."""

from __future__ import annotations

import json

import numpy as np
import onnx

from runtime.errors import InputError, PackageError, one_line
from runtime.names import LOOP, __version__
from runtime.package.reading import Package
from runtime.package.sampling import Sampling
from runtime.sampler import make_table

from ..passes.edit import Rewriting
from ..passes.query_blocks import plain_attention
from .borders import crop, pad
from .joined import Joined, image_value
from .steps import Steps


def join(package: Package, sampling: Sampling, opset: int) -> onnx.ModelProto:
    """``image`` (1, 3, H, W) float32 in [0, 1], RGB -> ``output``, the same, for any H and W from 1 up. With a sampling
    that starts from noise, ``noise`` is the second input: x_T, (1, 3, Hp/4, Wp/4) float32.

    Raises PackageError for a package that our exporter did not write, and InputError for a sampling that makes nothing.
    """
    manifest, joined = package.manifest, Joined()
    image = pad(joined, "image", manifest.pad_multiple)

    def stage(name: str, wired: dict[str, str]) -> None:
        content = Rewriting(package.graph(name))
        joined.stage(content.model.graph.node, content.constants, name, wired)

    stage("dwt", {"image": image})
    for k in range(manifest.levels):
        stage(f"hfrm{k}", {f"details{k}": f"dwt/details{k}"})
    table = make_table(np.asarray(manifest.alphas_cumprod), sampling)
    steps = Steps(_plain(package.graph(LOOP)), str(package.path / manifest.stage(LOOP).file))
    noise = "noise" if sampling.start == "normal" else ""
    x_0 = steps.join(joined, "dwt/x_cond", table, noise)
    if not x_0:
        raise InputError(f"{package.path}: the coefficients of its sampling {sampling.name} are zero; choose another.")
    stage("idwt", {"x_0": x_0} | {f"restored{k}": f"hfrm{k}/restored{k}" for k in range(manifest.levels)})
    crop(joined, "idwt/image", "output")

    inputs = [image_value("image", "height", "width")]
    if noise:
        inputs.append(image_value("noise", "noise_height", "noise_width"))
    outputs = [image_value("output", "height", "width")]
    try:
        return joined.model("diffll", inputs, outputs, opset, metadata(package, sampling))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = one_line(error)
        raise PackageError(f"{package.path}: its graphs do not fit together ({reason}); build it again.") from error


def metadata(package: Package, sampling: Sampling) -> dict[str, str]:
    """What the file is, for whoever finds it."""
    manifest = package.manifest
    provenance = {key: manifest.provenance.get(key, "unknown") for key in ("checkpoint_sha256", "licence")}
    return {
        "description": "DiffLL: brightens a dark photo",
        "version": __version__,
        "package_sha256": package.sha256,
        **{key: value if isinstance(value, str) else json.dumps(value) for key, value in provenance.items()},
        "precision": manifest.precision,
        "sampling": sampling.name,
        "timesteps": json.dumps(list(sampling.timesteps)),
        "start": sampling.start,
        "range": "[0, 1]",
        "colour_order": "RGB",
        "pad_multiple": str(manifest.pad_multiple),
    }


def _plain(content: bytes) -> bytes:
    """The denoiser with all scores of an attention at once: TensorRT-RTX 1.7 builds no If with a Loop in it, and
    OpenVINO 2026.4 is wrong after an If in which a Softmax has run on one score."""
    graph = Rewriting(content)
    graph.nodes = plain_attention(graph.model.graph.node)
    return graph.content()
