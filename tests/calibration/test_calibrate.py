"""Calibration as a user runs it: an int8 package that says where it comes from, or an error and nothing."""

from __future__ import annotations

import json
import os
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
from calibration_command import ROOT, Notes, damaged, run_calibration
from PIL import Image

from calibration import calibrate as calibrate_module
from calibration import state as state_module
from calibration.calibrate import calibrate
from calibration.cli import main
from calibration.observe import Observed
from calibration.photos import choose, few_unseen
from calibration.sampling.photos import few_judged
from calibration.sensitivity import Sensitivity
from calibration.state import State
from runtime import DiffLLError, EngineError, Enhancer, InputError
from runtime.package.reading import Package


def content(package: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(package.iterdir())}


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
    assert len(ranges["sensitivity"]["calls_psnr_db"]["published"]) == 10
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


def test_few_unseen_photos_are_told():
    assert [bool(few_unseen(unseen, 5 * unseen)) for unseen in (1, 2, 3, 4)] == [True, True, True, False]
    assert [bool(few_judged(judged)) for judged in (1, 3, 4, 8)] == [True, True, False, False]
    assert "judged on 3 photos alone" in few_judged(3)
    assert "With 14 photos or more it is judged on 8." in few_judged(3)


def test_photos_are_told_apart(photos, tmp_path):
    again = Path(shutil.copy(photos[0], tmp_path / "again.png"))
    calibrated, unseen = choose([*photos, again], 16, 16)
    assert len(calibrated) + len(unseen) == len(photos)
    assert not {one.sha256 for one in calibrated} & {one.sha256 for one in unseen}
    few, _ = choose(photos, 2, 16)
    assert len(few) == 2
    with pytest.raises(InputError, match="at least 2 different"):
        choose([photos[0], again], 16, 16)


def test_a_killed_run_goes_on_without_pytorch_and_ends_the_same(int8_package, tiny_package, photos, tmp_path):
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
    done = run_calibration(tiny_package, *photos, "-o", output, pytorch=False)
    assert done.returncode == 0, done.stderr
    assert "of 5 photos were collected before" in done.stderr
    assert "photo 1 of 5" not in done.stderr
    assert content(output) == content(int8_package)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def resumed(progress: Notes) -> bool:
    return any("collected before" in text for text in progress.told)


def damaged_state(progress: Notes) -> bool:
    return any("state.npz: damaged (" in text and text.endswith("are collected anew") for text in progress.told)


def test_what_was_collected_for_other_photos_or_settings_is_not_used(tiny_package, photos, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrate_module, "Judge", stop)
    for some, samples, goes_on in ((photos[:3], 16, False), (photos[:3], 16, True), (photos[1:4], 16, False),
                                   (photos[1:4], 1, False)):  # fmt: skip
        progress = Notes()
        with pytest.raises(KeyboardInterrupt):
            calibrate(Package.open(tiny_package), some, tmp_path / "out", samples=samples, progress=progress)
        assert resumed(progress) == goes_on
    assert [path.name for path in tmp_path.iterdir()] == [".out.calibration"]


def test_a_damaged_state_is_told_and_not_used(tiny_package, photos, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrate_module, "Judge", stop)
    state = tmp_path / ".out.calibration" / "state.npz"
    damages: list[bytes | None] = [b"", b"PK\x03\x04nothing", None]
    for damage in (*damages, "the end"):
        progress = Notes()
        with pytest.raises(KeyboardInterrupt):
            calibrate(Package.open(tiny_package), photos[:2], tmp_path / "out", progress=progress)
        assert damaged_state(progress) == (damage != damages[0])
        assert not resumed(progress)
        state.write_bytes(state.read_bytes()[:-100] if damage is None else str(damage).encode())


def test_a_state_of_other_arrays_is_told_and_nothing_of_it_is_used(tmp_path):
    """Sound as a file; numpy would have spread a single number over a whole tensor."""
    stages = {"dwt": Observed(["a", "b"], 1), "denoiser": Observed(["c"], 3)}
    for observed in stages.values():
        for name in observed.tensors:
            observed.add(name, 0, np.linspace(-1, 1, 99, dtype=np.float32))
    state = State(tmp_path / "out", {"photos": ["1", "2"]})
    state.folder.mkdir()
    state.save(stages, 2)
    file = state.folder / "state.npz"
    with np.load(file) as arrays:
        good = dict(arrays)

    def load() -> tuple[int, Notes, dict[str, Observed]]:
        progress, empty = Notes(), {name: Observed(one.tensors, one.lows.shape[1]) for name, one in stages.items()}
        return state.load(empty, progress), progress, empty

    assert load()[0] == 2
    odd = {
        "photos": [np.int64(0), np.int64(3), np.float64(1), np.array([1])],
        "dwt/lows": [np.float32(0), np.full((2, 1), np.nan, np.float32), np.zeros((2, 1)), np.zeros((2, 3), "f4")],
        "denoiser/counts": [-good["denoiser/counts"], good["denoiser/counts"].astype("i4"), np.int64(1)],
        "denoiser/widths": [np.zeros(1), np.full(1, np.inf)],
        "denoiser/tails": [np.full(1, np.nan), np.full(1, -1.0), np.array(["a"]), None],
    }
    for name, values in odd.items():
        for value in values:
            np.savez(file, **{key: one for key, one in (good | {name: value}).items() if one is not None})
            photos, progress, empty = load()
            assert photos == 0
            assert damaged_state(progress), (name, value)
            assert not any(observed.counts.any() for observed in empty.values())
    file.unlink()
    os.mkfifo(file)
    assert damaged_state(load()[1])


def test_the_options_reach_the_ranges_and_the_search(tiny_package, photos, tmp_path, monkeypatch):
    """What methods and budgets do is in test_observe and test_search."""
    given: dict[str, object] = {}

    def threshold(method: str, seen: Observed, name: str) -> float:
        given["method"] = method
        return 1.0

    def search(costs: object, budget_db: float, measured: object) -> list[tuple[str, str]]:
        given["budget"] = budget_db
        raise KeyboardInterrupt

    monkeypatch.setattr(calibrate_module, "threshold", threshold)
    monkeypatch.setattr(calibrate_module, "measure", lambda *_: Sensitivity({}, {}, {}))
    monkeypatch.setattr(calibrate_module, "back_to_float", search)
    words = [str(tiny_package), *map(str, photos[:2]), "-o", str(tmp_path / "out")]
    with pytest.raises(KeyboardInterrupt):
        main([*words, "--method", "entropy", "--budget-db", "47"])
    assert given == {"method": "entropy", "budget": 47}


@pytest.mark.parametrize("stage", ["denoiser", "hfrm1"])
def test_a_nan_is_named_by_stage_and_step(tiny_package, photos, tmp_path, stage):
    """In the denoiser it comes with timestep 100: one row of the time embedding's table is NaN."""

    def edit(model: onnx.ModelProto) -> None:
        name = "shift_table" if stage == "denoiser" else "dilated_block_HL.model.2.bias"
        tensor = next(one for one in model.graph.initializer if one.name == name)
        values = numpy_helper.to_array(tensor).copy()
        values[100 if stage == "denoiser" else 0] = np.nan
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    package = damaged(tiny_package, tmp_path / "nan", stage, edit)
    with pytest.raises(EngineError) as caught:
        main([str(package), *map(str, photos), "-o", str(tmp_path / "out")])
    error = str(caught.value)
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
def test_mistakes_are_told_by_name_and_leave_nothing(tiny_package, tmp_path, capsys, arguments, words):
    Image.fromarray(np.zeros((40, 15, 3), np.uint8)).save(tmp_path / "small.png")
    arguments = [str(tmp_path / "small.png") if word == "small" else word for word in arguments]
    with pytest.raises((DiffLLError, SystemExit)) as caught:
        main([str(tiny_package), *arguments, "-o", str(tmp_path / "out")])
    error = capsys.readouterr().err if isinstance(caught.value, SystemExit) else str(caught.value)
    assert all(word in error for word in words), error
    assert [path.name for path in tmp_path.iterdir()] == ["small.png"]


def test_a_mistake_is_one_line_and_exit_code_2(tiny_package, tmp_path):
    done = run_calibration(tiny_package, "absent.png", "assets/sample.png", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot read absent.png")
    assert done.stderr.count("\n") == 1


def test_only_fp32_packages(int8_package, photos, tmp_path):
    with pytest.raises(InputError, match="a package in int8; calibration starts from the fp32 package"):
        main([str(int8_package), *map(str, photos), "-o", str(tmp_path / "out")])


def test_an_existing_package_is_kept(int8_package, tiny_package, photos):
    before = content(int8_package)
    with pytest.raises(InputError, match="--overwrite"):
        main([str(tiny_package), *map(str, photos), "-o", str(int8_package)])
    assert content(int8_package) == before


def test_a_full_disk_leaves_no_package_and_keeps_what_was_collected(tiny_package, photos, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "write_file", full)
        with pytest.raises(InputError, match=r"No space left on device.*free"):
            calibrate(Package.open(tiny_package), photos[:2], output, progress=Notes())
    assert list((tmp_path / ".out.calibration").iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr(calibrate_module, "measure", lambda *_: Sensitivity({}, {}, {}))
        patch.setattr(calibrate_module, "assemble", full)
        with pytest.raises(InputError, match="No space left on device"):
            calibrate(Package.open(tiny_package), photos[:2], output, budget_db=1, progress=Notes())
    assert [path.name for path in tmp_path.iterdir()] == [".out.calibration"]
    state = tmp_path / ".out.calibration" / "state.npz"
    assert state.stat().st_size > 10_000
