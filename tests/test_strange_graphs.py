"""A package from a stranger, its hashes in order: a graph whose weights are in another file is refused by all that read
graphs."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from calibration.calibrate import calibrate
from calibration.extremes import WatchedBackend
from runtime import Enhancer, PackageError
from runtime.cli.progress import Progress
from runtime.package.reading import Package


@pytest.fixture(scope="module")
def strange(tiny_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = Path(shutil.copytree(tiny_package, tmp_path_factory.mktemp("strange") / "package"))
    model = onnx.load(package / "hfrm1.onnx")
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="golden.npz")  # a file that is there
    graph = model.SerializeToString()
    (package / "hfrm1.onnx").write_bytes(graph)
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"]["hfrm1.onnx"] = {"sha256": sha256(graph).hexdigest(), "bytes": len(graph)}
    (package / "manifest.json").write_text(json.dumps(manifest))
    return package


def calibrates(package: Path) -> None:
    photos = [package.parent / f"{shade}.png" for shade in (20, 30)]
    for shade, photo in zip((20, 30), photos, strict=True):
        Image.fromarray(np.full((32, 32, 3), shade, np.uint8)).save(photo)
    calibrate(Package.open(package), photos, package.parent / "int8", progress=Progress(io.StringIO()))


@pytest.mark.parametrize(
    "reader",
    [
        lambda path: Enhancer.open(path, backend="onnxruntime"),
        lambda path: Enhancer.open(path, backend="openvino"),
        calibrates,
        lambda path: WatchedBackend(Package.open(path), {}, lambda *_: None),
    ],
    ids=["onnxruntime", "openvino", "calibration", "calibration's backend"],
)
def test_weights_in_another_file_are_refused(strange: Path, reader: Callable[[Path], object]) -> None:
    with pytest.raises(PackageError, match=r"hfrm1\.onnx: it refers to weights in another file"):
        reader(strange)
