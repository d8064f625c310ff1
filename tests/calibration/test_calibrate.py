"""Calibration as a user runs it: an int8 package that says where it comes from, or an error and nothing."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper as numpy_helper
import pytest
from calibration_command import ROOT, run_calibration
from PIL import Image

from calibration import calibrate as calibrate_module
from calibration.calibrate import calibrate
from calibration.photos import choose
from runtime import Enhancer, InputError
from runtime.cli.progress import Progress
from runtime.package.reading import Package


def content(package: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(package.iterdir())}


def damaged(tiny_package: Path, folder: Path, stage: str, edit) -> Path:
    """A copy of the package with one graph changed and its hash put right."""
    package = Path(shutil.copytree(tiny_package, folder))
    model = onnx.load(package / f"{stage}.onnx")
    edit(model)
    graph = model.SerializeToString()
    (package / f"{stage}.onnx").write_bytes(graph)
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"][f"{stage}.onnx"] = {"sha256": sha256(graph).hexdigest(), "bytes": len(graph)}
    (package / "manifest.json").write_text(json.dumps(manifest))
    return package


def test_an_ordinary_package(int8_package, tiny_package, photos):
    package = Package.open(int8_package)
    assert package.manifest.precision == "int8"
    assert package.manifest.stages == Package.open(tiny_package).manifest.stages
    assert set(package.manifest.files) == {path.name for path in int8_package.iterdir()} - {"manifest.json"}
    photo = np.random.default_rng(0).integers(0, 60, (40, 56, 3), np.uint8)
    with Enhancer.open(int8_package) as enhancer, Enhancer.open(tiny_package) as reference:
        assert enhancer.self_test() <= 64
        found, expected = enhancer(photo, seed=3).astype(int), reference(photo, seed=3)
        assert 0 < np.abs(found - expected).max() < 40
    with Enhancer.open(int8_package, backend="openvino") as enhancer:
        assert np.abs(enhancer(photo, seed=3).astype(int) - expected).max() < 40


def test_provenance_and_certificate(int8_package, tiny_package, photos):
    provenance = Package.open(int8_package).manifest.provenance
    calibration = provenance["calibration"]
    hashes = {sha256(path.read_bytes()).hexdigest() for path in photos}
    used = {one["sha256"] for one in calibration["photos"]}
    assert provenance["checkpoint"] == Package.open(tiny_package).manifest.provenance["checkpoint"]
    assert calibration["fp32_package_sha256"] == Package.open(tiny_package).sha256
    assert calibration["method"] == "percentile"
    assert len(used) == 5
    certificate = json.loads((int8_package / "certificate.json").read_text())
    unseen = {one["photos"]["sha256"] for one in certificate["end_to_end"]}
    assert unseen == hashes - used
    assert all(one["psnr_db"] >= 40 for one in certificate["end_to_end"])
    ranges = json.loads((int8_package / "calibration.json").read_text())
    for stage, steps in (("denoiser", 10), ("hfrm0", 1)):
        for tensor in ranges["stages"][stage].values():
            assert len(tensor["lows"]) == len(tensor["highs"]) == steps
            assert 0 < tensor["int8_holds"] <= max(*tensor["highs"], *(-low for low in tensor["lows"])) * 1.0001
    steps = [tensor["highs"] for tensor in ranges["stages"]["denoiser"].values()]
    assert any(len(set(highs)) == 10 for highs in steps)  # each step has its own
    assert len(ranges["sensitivity"]["timesteps_psnr_db"]) == 10
    table = (int8_package / "sensitivity.md").read_text()
    assert table.count("| denoiser | unet.") == len(
        [key for key in ranges["sensitivity"]["layers_psnr_db"] if key.startswith("denoiser")]
    )
    with Image.open(int8_package / "sensitivity.png") as plot:
        assert min(plot.size) > 200


def test_int8_layers_are_those_of_the_graphs(int8_package):
    calibration = Package.open(int8_package).manifest.provenance["calibration"]
    for stage, count in calibration["int8_layers"].items():
        graph = onnx.load(int8_package / f"{stage}.onnx").graph
        weights = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
        assert len([name for name in weights if name.endswith("weight_quantized")]) == count
    assert sum(calibration["int8_layers"].values()) > 0


def test_photos_are_told_apart(photos, tmp_path):
    again = Path(shutil.copy(photos[0], tmp_path / "again.png"))
    calibrated, unseen = choose([*photos, again], 16, 16)
    assert len(calibrated) + len(unseen) == len(photos)
    assert not {one.sha256 for one in calibrated} & {one.sha256 for one in unseen}
    few, _ = choose(photos, 2, 16)
    assert len(few) == 2
    with pytest.raises(InputError, match="at least 2 different"):
        choose([photos[0], again], 16, 16)


def test_a_killed_run_goes_on_and_ends_the_same(int8_package, tiny_package, photos, tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "calibration", str(tiny_package), *map(str, photos), "-o", str(output)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("photo 3 of 5"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    process.stderr.close()
    assert not output.exists()
    done = run_calibration(tiny_package, *photos, "-o", output)
    assert done.returncode == 0, done.stderr
    assert "of 5 photos were collected before" in done.stderr
    assert "photo 1 of 5" not in done.stderr
    assert content(output) == content(int8_package)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class Notes(Progress):
    """Keeps what is said, shows nothing."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_what_was_collected_for_other_photos_or_settings_is_not_used(tiny_package, photos, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrate_module, "Judge", stop)
    for some, samples, resumed in ((photos[:4], 16, False), (photos[:4], 16, True), (photos[1:5], 16, False),
                                   (photos[1:5], 2, False)):  # fmt: skip
        progress = Notes()
        with pytest.raises(KeyboardInterrupt):
            calibrate(Package.open(tiny_package), some, tmp_path / "out", samples=samples, progress=progress)
        assert bool(progress.notes) == resumed
    assert [path.name for path in tmp_path.iterdir()] == [".out.calibration"]


def test_a_damaged_state_is_not_used(tiny_package, photos, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrate_module, "Judge", stop)
    for damage in (b"", b"PK\x03\x04nothing", None):
        with pytest.raises(KeyboardInterrupt):
            calibrate(Package.open(tiny_package), photos[:2], tmp_path / "out", progress=Notes())
        state = tmp_path / ".out.calibration" / "state.npz"
        state.write_bytes(state.read_bytes()[:-100] if damage is None else damage)
    progress = Notes()
    with pytest.raises(KeyboardInterrupt):
        calibrate(Package.open(tiny_package), photos[:2], tmp_path / "out", progress=progress)
    assert progress.notes == []


def test_a_larger_budget_leaves_more_in_float(int8_package, tiny_package, photos, tmp_path):
    reached = min(one["psnr_db"] for one in json.loads((int8_package / "certificate.json").read_text())["end_to_end"])
    calibrate(Package.open(tiny_package), photos, tmp_path / "fine", budget_db=reached + 3, progress=Notes())
    fine = Package.open(tmp_path / "fine").manifest.provenance["calibration"]
    coarse = Package.open(int8_package).manifest.provenance["calibration"]
    assert len(fine["float_layers"]) > len(coarse["float_layers"])
    certificate = json.loads((tmp_path / "fine" / "certificate.json").read_text())
    assert all(one["psnr_db"] >= reached + 3 for one in certificate["end_to_end"])
    assert "| float |" in (tmp_path / "fine" / "sensitivity.md").read_text()


def test_another_method_gives_other_ranges(int8_package, tiny_package, photos, tmp_path):
    method = "entropy"  # what each method does is in test_observe
    calibrate(Package.open(tiny_package), photos, tmp_path / "p", method=method, budget_db=20, progress=Notes())

    def limits(package: Path) -> list[float]:
        stages = json.loads((package / "calibration.json").read_text())["stages"]
        return [tensor["int8_holds"] for stage in stages.values() for tensor in stage.values()]

    assert limits(tmp_path / "p") != limits(int8_package)
    assert Package.open(tmp_path / "p").manifest.provenance["calibration"]["method"] == method


@pytest.mark.parametrize("stage", ["denoiser", "hfrm1"])
def test_a_nan_is_named_by_stage_and_step(tiny_package, photos, tmp_path, stage):
    """In the denoiser it comes with timestep 100: one row of the time embedding's table is NaN."""

    def edit(model: onnx.ModelProto) -> None:
        name = "shift_table" if stage == "denoiser" else "dilated_block_HL.model.2.bias"
        tensor = next(one for one in model.graph.initializer if one.name == name)
        values = numpy_helper.to_array(tensor).copy()
        values[100 if stage == "denoiser" else 0] = np.nan
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    done = run_calibration(damaged(tiny_package, tmp_path / "nan", stage, edit), *photos, "-o", tmp_path / "out")
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert "NaN" in error
    assert str(calibrated_first(photos)) in error
    assert f"stage {stage}" in error
    assert stage != "denoiser" or "step 5 of 10 (timestep 100)" in error
    assert not (tmp_path / "out").exists()


def calibrated_first(photos: list[Path]) -> Path:
    return choose(photos, 16, 16)[0][0].path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no PHOTO"]),
        (["README.md", "assets/sample.png"], ["README.md"]),
        (["absent.png", "assets/sample.png"], ["absent.png"]),
        (["assets/sample.png"], ["at least 2"]),
        (["small", "assets/sample.png"], ["small.png", "15x40", "at least 16"]),
        (["assets/sample.png", "--samples", "0"], ["--samples"]),
        (["assets/sample.png", "--budget-db", "-3"], ["--budget-db"]),
        (["assets/sample.png", "--budget-db", "nan"], ["--budget-db"]),
        (["assets/sample.png", "--method", "max"], ["--method"]),
    ],
)
def test_mistakes_are_one_line_and_exit_2(tiny_package, tmp_path, arguments, words):
    Image.fromarray(np.zeros((40, 15, 3), np.uint8)).save(tmp_path / "small.png")
    arguments = [str(tmp_path / "small.png") if word == "small" else word for word in arguments]
    done = run_calibration(tiny_package, *arguments, "-o", tmp_path / "out")
    assert done.returncode == 2
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert all(word in error for word in words), error
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.png"]


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_only_fp32_packages(half_package, int8_package, photos, tmp_path, precision):
    package = int8_package if precision == "int8" else half_package(precision)
    done = run_calibration(package, *photos, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert f"a package in {precision}" in done.stderr
    assert "fp32" in done.stderr


def test_an_existing_package_is_kept(int8_package, tiny_package, photos):
    before = content(int8_package)
    done = run_calibration(tiny_package, *photos, "-o", int8_package)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert content(int8_package) == before


def test_a_full_disk_leaves_no_package_and_keeps_what_was_collected(tiny_package, photos, tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match=r"No space left on device.*free"):
            calibrate(Package.open(tiny_package), photos[:2], output, progress=Notes())
    assert list((tmp_path / ".out.calibration").iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr(calibrate_module, "write_package", lambda *_: full(None, None))
        with pytest.raises(InputError, match="No space left on device"):
            calibrate(Package.open(tiny_package), photos[:2], output, progress=Notes())
    assert [path.name for path in tmp_path.iterdir()] == [".out.calibration"]
    state = tmp_path / ".out.calibration" / "state.npz"
    assert state.stat().st_size > 10_000


def test_no_pytorch(tiny_package, photos, tmp_path):
    code = (
        "import sys\nclass Block:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'torch', 'onnxscript', 'export', 'benchmarks'}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\nfrom calibration.cli import main\n"
        f"assert main({[str(tiny_package), *map(str, photos[:2]), '-o', str(tmp_path / 'out')]!r}) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
