"""The same single file in every program that docs/hosts.md names. What is not installed is skipped: .ci/hosts.sh
fetches what has no place in the project's own environment."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from export.single import main

ROOT = Path(__file__).parents[3]
HOSTS = ROOT / "build" / "hosts"
MISSING = "is not here; `bash .ci/hosts.sh` fetches it"


def test_openvino(single_file, grey_levels, dark, planes):
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(single_file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    # the first has one attention position, after which an If with a Softmax in it went wrong
    for width, height in ((1, 1), (64, 64), (9, 8), (17, 40), (33, 31), (97, 65), (3, 2)):
        photo = dark(width, height)
        assert grey_levels(photo, compiled([planes(photo)])[0]) <= 1


def test_tensorrt_rtx_builds_an_engine_of_it(single_file):
    rtx = pytest.importorskip("tensorrt_rtx")
    logger = rtx.Logger(rtx.Logger.ERROR)
    builder = rtx.Builder(logger)
    network = builder.create_network(1 << int(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = rtx.OnnxParser(network, logger)
    parsed = parser.parse(single_file.read_bytes())
    assert parsed, [str(parser.get_error(number)) for number in range(parser.num_errors)]
    profile, config = builder.create_optimization_profile(), builder.create_builder_config()
    profile.set_shape("image", (1, 3, 16, 16), (1, 3, 40, 60), (1, 3, 160, 240))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    assert engine.nbytes > single_file.stat().st_size / 2


def test_onnxruntime_web(single_file, grey_levels, dark, planes):
    if not shutil.which("node") or not (HOSTS / "web" / "node_modules" / "onnxruntime-web").is_dir():
        pytest.skip(f"onnxruntime-web {MISSING}")
    photo = dark(45, 30)
    command = ["node", Path(__file__).with_name("web.mjs"), HOSTS / "web", single_file, "30", "45"]
    done = subprocess.run(command, input=planes(photo).tobytes(), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert grey_levels(photo, np.frombuffer(done.stdout, np.float32).reshape(1, 3, 30, 45)) <= 1


def test_vs_mlrt_fixes_its_sizes_and_reads_them_back(single_file, grey_levels, dark, planes):
    """What its loader does (common/onnx_utils.cpp, vsort/vs_onnxruntime.cpp): one input and one output, 4-D, of a batch
    of 1, 3 planes; the tile's size is put into the input, and the output's has to follow by inference of shapes."""
    model = onnx.load(single_file)
    assert (len(model.graph.input), len(model.graph.output)) == (1, 1)
    width, height = 45, 30
    for value in (*model.graph.input, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        assert (len(sizes), sizes[0].dim_value, sizes[1].dim_value) == (4, 1, 3)
    for size, number in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], (height, width), strict=True):
        size.dim_value = number
    model = onnx.shape_inference.infer_shapes(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (read,), (made,) = session.get_inputs(), session.get_outputs()
    assert read.shape == made.shape == [1, 3, height, width]
    assert read.type == made.type == "tensor(float)"
    photo = dark(width, height)
    assert grey_levels(photo, session.run(None, {read.name: planes(photo)})[0]) <= 1


def test_ncnn_has_no_layers_for_what_it_holds(single_file, tmp_path):
    """docs/hosts.md says why; where this fails, ncnn or pnnx has learnt it, and the page is to be changed."""
    ncnn, pnnx = pytest.importorskip("ncnn"), pytest.importorskip("pnnx")
    shutil.copy(single_file, tmp_path / "any.onnx")
    shutil.copy(single_file, tmp_path / "fixed.onnx")

    def convert(*words: str) -> int:
        command = [pnnx.EXEC_PATH, *words, "fp16=0"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120).returncode

    assert convert("any.onnx", "inputshape=[1,3,32,48]", "inputshape2=[1,3,24,40]") != 0
    assert convert("fixed.onnx", "inputshape=[1,3,32,48]") == 0
    lines = (tmp_path / "fixed.ncnn.param").read_text().splitlines()[2:]
    kinds = {line.split()[0] for line in lines if line.strip()}
    assert {kind for kind in kinds if ncnn.layer_to_index(kind) < 0} == {"Tensor.slice"}


@pytest.fixture(scope="module")
def darktable_folder(fast_package, tmp_path_factory) -> Path:
    """What a .dtmodel unpacks to."""
    folder = tmp_path_factory.mktemp("darktable")
    place = folder / "diffll.dtmodel"
    assert main([str(fast_package), "-o", str(place), "--sampling", "fast", "--darktable"]) == 0
    with zipfile.ZipFile(place) as archive:
        assert archive.namelist() == ["denoise-diffll/config.json", "denoise-diffll/model.onnx"]
        archive.extractall(folder / "output")
    return folder


def test_darktable_gets_the_same_file_with_sizes_of_its_own(darktable_folder, single_file, grey_levels, dark, planes):
    folder = darktable_folder / "output" / "denoise-diffll"
    assert (folder / "model.onnx").read_bytes() == single_file.read_bytes()
    config = json.loads((folder / "config.json").read_text())
    assert (config["id"], config["task"], config["backend"], config["num_inputs"]) == (
        folder.name,
        "denoise",
        "onnx",
        1,
    )
    options = ort.SessionOptions()
    for name, size in (("batch_size", 1), ("batch", 1), ("height", 64), ("width", 64)):  # as its session is made
        options.add_free_dimension_override_by_name(name, size)
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == [1, 3, 64, 64]
    photo = dark(64, 64)
    assert grey_levels(photo, session.run(None, {"image": planes(photo)})[0]) <= 1


def test_darktables_own_check_passes(darktable_folder):
    dtai = HOSTS / "dtai" / "bin" / "dtai"
    if not dtai.is_file():
        pytest.skip(f"darktable-ai-sdk {MISSING}")
    described = darktable_folder / "models" / "denoise-diffll" / "model.yaml"
    described.parent.mkdir(parents=True)
    (darktable_folder / "pyproject.toml").touch()
    described.write_text("id: denoise-diffll\nname: DiffLL\ndescription: brightens dark photos\ntask: denoise\n")
    command = [dtai, "validate", "denoise-diffll"]
    done = subprocess.run(command, cwd=darktable_folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "config.json: OK (task=denoise, tiling=True)" in done.stdout
    assert "Result: PASS" in done.stdout
