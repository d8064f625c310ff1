"""``python -m export.single``: one file that makes the runtime's picture, and a command that writes it whole."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from sampled import with_manifest, with_samplings

from export.joining.join import join
from export.joining.steps import Steps
from export.single import main
from runtime import Enhancer, InputError, PackageError
from runtime.machine import files
from runtime.package.reading import Package

ROOT = Path(__file__).parents[3]
SIZES = [(1, 1), (1, 7), (5, 1), (3, 2), (9, 8), (17, 40), (33, 31), (64, 64), (97, 65), (130, 75)]  # width, height
HISTORY = [[0.9, -0.2, 0.0, 1.1, -0.3], [0.8, -0.1, 0.1, 0.9, 0.2], [1.0, -0.3, 0.2, 0.0, 0.0]]
ZERO = {"zero": {"timesteps": [80], "start": "zero", "coefficients": [[0.5, 0.0, 0.0, 0.0, 0.0]], "judged": {}}}
KEPT = {"kept": {"timesteps": [120, 80, 40], "start": "normal", "coefficients": HISTORY, "judged": {}}}


def session(model) -> ort.InferenceSession:
    content = model if isinstance(model, str | bytes) else model.SerializeToString()
    return ort.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def opened(single_file) -> ort.InferenceSession:
    return session(str(single_file))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_its_picture_is_the_runtimes_at_any_size(opened, grey_levels, dark, planes, width, height):
    photo = dark(width, height)
    assert grey_levels(photo, opened.run(None, {"image": planes(photo)})[0]) <= 1


@pytest.mark.parametrize("sampling", ["published", "kept"])
def test_a_start_of_noise_is_a_second_input(tiny_package, tmp_path, dark, planes, sampling):
    package = Package.open(with_samplings(tiny_package, tmp_path / "kept", KEPT))
    noisy = session(join(package, package.manifest.samplings[sampling], 20))
    assert [one.name for one in noisy.get_inputs()] == ["image", "noise"]
    photo = dark(37, 21)
    noise = np.random.default_rng(3).standard_normal(package.manifest.noise_shape(21, 37)).astype(np.float32)
    (output,) = noisy.run(None, {"image": planes(photo), "noise": noise[None]})
    with Enhancer.open(package.path) as enhancer:
        expected = enhancer(photo, sampling=sampling, noise=noise)
    assert np.abs(np.floor(255 * output[0].transpose(1, 2, 0) + np.float32(0.5)) - expected).max() <= 1


def test_a_sampling_that_leaves_nothing_is_refused(tiny_package, tmp_path):
    package = with_samplings(tiny_package, tmp_path / "zero", ZERO)
    with pytest.raises(InputError, match="the coefficients of its sampling zero are zero"):
        main([str(package), "-o", str(tmp_path / "x.onnx"), "--sampling", "zero"])


@pytest.mark.parametrize("levels", [1, 3])
def test_other_numbers_of_wavelet_levels(level_package, tmp_path, dark, planes, levels):
    package = Package.open(with_samplings(level_package(levels), tmp_path / "fast"))
    photo = dark(45, 30)
    (output,) = session(join(package, package.manifest.samplings["fast"], 20)).run(None, {"image": planes(photo)})
    with Enhancer.open(package.path) as enhancer:
        expected = enhancer(photo, sampling="fast")
    assert np.abs(np.floor(255 * output[0].transpose(1, 2, 0) + np.float32(0.5)) - expected).max() <= 1


def test_half_precision_is_the_packages_own(half_package, tmp_path, dark, planes):
    package = with_samplings(half_package("fp16"), tmp_path / "fast")
    assert main([str(package), "-o", str(tmp_path / "half.onnx"), "--sampling", "fast", "--precision", "fp16"]) == 0
    photo = dark(45, 30)
    (output,) = session(str(tmp_path / "half.onnx")).run(None, {"image": planes(photo)})
    assert output.dtype == np.float32
    with Enhancer.open(package) as enhancer:
        expected = enhancer(photo, sampling="fast")
    assert np.abs(np.floor(255 * output[0].transpose(1, 2, 0) + np.float32(0.5)) - expected).max() <= 2


def test_the_file_says_what_it_is(single_file, fast_package):
    model = onnx.load(single_file)
    found = {one.key: one.value for one in model.metadata_props}
    manifest = Package.open(fast_package).manifest
    assert found["checkpoint_sha256"] == manifest.provenance["checkpoint_sha256"]
    assert found["licence"] == manifest.provenance["licence"]
    assert (found["sampling"], json.loads(found["timesteps"]), found["start"]) == ("fast", [80, 40], "zero")
    assert (found["range"], found["colour_order"], found["precision"]) == ("[0, 1]", "RGB", "fp32")
    sizes = [
        [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim] for value in model.graph.input
    ]
    assert sizes == [[1, 3, "height", "width"]]
    assert ([one.version for one in model.opset_import], model.ir_version) == ([20], 9)


def test_weights_are_stored_once_and_hosts_find_nothing_rare(single_file, fast_package):
    graphs = sum((fast_package / stage.file).stat().st_size for stage in Package.open(fast_package).manifest.stages)
    assert single_file.stat().st_size < 1.15 * graphs
    found = {node.op_type for node in onnx.load(single_file).graph.node}
    assert found.isdisjoint({"If", "Loop", "Pad", "GroupNormalization", "Cast", "Resize"})


def test_what_no_step_changes_is_computed_once(single_file):
    nodes = onnx.load(single_file).graph.node
    steps = [{one.name.partition("/")[2] for one in nodes if one.name.startswith(f"step{k}/")} for k in (0, 1)]
    assert steps[1] - steps[0] == {"x_t", "first", "x_next/term0", "x_next/sum1"}  # the start is zero
    readers = [one for one in nodes if "dwt/x_cond" in one.input and one.op_type == "Conv"]
    assert len(readers) == 1
    assert not any("shift_table" in name for one in nodes for name in one.input)


def test_the_newer_operators_give_the_same_graph(fast_package, tmp_path):
    package = Package.open(fast_package)
    old, new = (join(package, package.manifest.samplings["fast"], opset) for opset in (20, 21))
    assert (new.opset_import[0].version, new.ir_version) == (21, 10)
    assert new.graph == old.graph


def test_it_is_written_without_pytorch(fast_package, tmp_path):
    blocked = (
        f"import sys; sys.modules |= dict.fromkeys(('torch', 'onnxscript', 'onnxruntime')); "
        f"from export.single import main; main({[str(fast_package), '-o', str(tmp_path / 'x.onnx')]!r})"
    )
    done = subprocess.run([sys.executable, "-c", blocked], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'x.onnx'}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "x.dtmodel", "--sampling", "fast"], "has to end in .onnx"),
        (["-o", "x.onnx", "--sampling", "fast", "--darktable"], "has to end in .dtmodel"),
        (["-o", "x.dtmodel", "--darktable"], "published starts from noise"),
        (["-o", "none/x.onnx"], "none is not a folder that can be written"),
        (["-o", "there.onnx"], "a file is already there"),
        (["-o", "x.onnx", "--sampling", "slow"], "no sampling 'slow'"),
        (["-o", "x.onnx", "--precision", "fp16"], "export.build --precision fp16"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(fast_package, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_bytes(b"mine")
    with pytest.raises(InputError, match=message):
        main([str(fast_package), *words])
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"


def test_a_packages_int8_graph_is_refused_with_the_line_to_type(fast_package, tmp_path):
    package = with_manifest(fast_package, tmp_path / "int8", lambda manifest: manifest.update(precision="int8"))
    with pytest.raises(InputError, match="a package in int8, and fp32 or fp16 is wanted"):
        main([str(package), "-o", str(tmp_path / "x.onnx")])


def test_a_strangers_package_is_read_as_every_package_is(fast_package, tmp_path):
    package = with_manifest(fast_package, tmp_path / "damaged", lambda manifest: None)
    content = bytearray((package / "denoiser.onnx").read_bytes())
    content[-1000] ^= 1
    (package / "denoiser.onnx").write_bytes(content)
    with pytest.raises(PackageError, match=r"denoiser\.onnx: its sha256 is not the manifest's"):
        main([str(package), "-o", str(tmp_path / "x.onnx")])
    assert not (tmp_path / "x.onnx").exists()


def test_a_denoiser_of_another_form_is_refused(tiny_package):
    content = (tiny_package / "hfrm0.onnx").read_bytes()
    with pytest.raises(PackageError, match="a denoiser of another form; build the package again"):
        Steps(content, "x/denoiser.onnx")


def test_a_full_disk_leaves_the_old_file(fast_package, single_file, tmp_path, monkeypatch):
    place = tmp_path / "x.onnx"
    place.write_bytes(single_file.read_bytes())

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(InputError, match=r"No space left on device\); free [0-9.]+ MB"):
        main([str(fast_package), "-o", str(place), "--overwrite"])
    assert place.read_bytes() == single_file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]
