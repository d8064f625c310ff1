"""OpenVINO runs the graph that was checked, and what it makes is where it is looked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import hostile
import numpy as np
import onnx
import openvino as ov
import pytest

from runtime import EngineError, Enhancer
from runtime.package import reading


def another(folder: Path) -> str:
    """XML of OpenVINO's own for a model without constants, as the file of a dwt that makes 0 of every photo."""
    image = ov.opset8.parameter([-1, 3, -1, -1], ov.Type.f32, name="image")
    image.output(0).set_names({"image"})
    made = ov.opset8.negative(image)
    made.output(0).set_names({"x_cond"})
    ov.save_model(ov.Model([made], [image], "another"), folder / "another.xml", compress_to_fp16=False)
    return (folder / "another.xml").read_text()


def test_a_model_in_a_text_field_is_text(tiny_package: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(tiny_package, tmp_path / "package"))
    model = onnx.load_from_string((package / "dwt.onnx").read_bytes())
    model.producer_name = another(tmp_path)
    content = model.SerializeToString()
    assert [value.get_any_name() for value in ov.Core().read_model(content).outputs] == ["x_cond"], "the attack is none"
    hostile.put(package, "dwt.onnx", content)
    photo = np.random.default_rng(1).integers(0, 80, (40, 56, 3), np.uint8)
    noise = np.random.default_rng(2).standard_normal((3, 10, 14), np.float32)
    want = Enhancer.open(tiny_package, backend="onnxruntime")(photo, noise=noise)
    found = Enhancer.open(package, backend="openvino")(photo, noise=noise)
    assert np.abs(found.astype(int) - want).max() <= 1


def test_an_output_of_another_shape_is_an_error(
    tiny_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO would put it somewhere else without a word. The guard knows such a graph; here it looks away."""
    package = Path(shutil.copytree(tiny_package, tmp_path / "package"))
    cut = {"from": [0], "to": [-1], "at": [3]}
    edit = hostile.add(hostile.node("Slice", f"{hostile.KEPT} from to at", "x_cond"), **cut)
    hostile.put(package, "dwt.onnx", hostile.edited((package / "dwt.onnx").read_bytes(), edit))
    monkeypatch.setattr(reading, "check_stage", lambda *_: None)
    with pytest.raises(EngineError, match=r"dwt: x_cond is \(1, 3, 10, 13\)"):
        Enhancer.open(package, backend="openvino")(np.zeros((40, 56, 3), np.uint8))
