"""Building a package: whole and certified, or not there at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import kept_traces
import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from safetensors.torch import save_file

from export.build import main
from export.certificate.certify import CertificateError
from runtime import Enhancer, InputError, PackageError
from runtime.cli.progress import Progress
from runtime.package.reading import Package

ROOT = Path(__file__).parent.parent.parent
JUDGED = {"timesteps": [80, 40], "start": "zero", "coefficients": None, "judged": {"checkpoint_sha256": "0" * 64}}


def export_build(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export.build", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


def test_package_content(tiny_package):
    assert sorted(path.name for path in tiny_package.iterdir()) == [
        "certificate.json", "denoiser.onnx", "dwt.onnx", "golden.npz", "hfrm0.onnx", "hfrm1.onnx", "idwt.onnx",
        "manifest.json",
    ]  # fmt: skip
    manifest = Package.open(tiny_package).manifest
    assert manifest.provenance["architecture"]["ch_mult"] == [1, 2]
    assert manifest.provenance["versions"]["torch"].startswith("2.")
    assert len(manifest.betas) == 200


def test_graphs_have_the_manifest_names_and_dynamic_sizes(tiny_package):
    for stage in Package.open(tiny_package).manifest.stages:
        model = onnx.load(tiny_package / stage.file)
        for values, specs in ((model.graph.input, stage.inputs), (model.graph.output, stage.outputs)):
            for value, spec in zip(values, specs, strict=True):
                assert value.name == spec.name
                dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
                assert dims == list(spec.shape)
        operators = {node.op_type for node in model.graph.node}
        assert not operators & {"RandomNormal", "RandomNormalLike", "ScatterND", "Loop"}
        assert {opset.domain for opset in model.opset_import} == {""}
        text = str(model)[-200_000:]
        assert str(ROOT) not in text  # no path of the building machine


def test_certificate_says_what_was_compared(tiny_package):
    certificate = json.loads((tiny_package / "certificate.json").read_text())
    assert set(certificate["stages"]) == {"dwt", "hfrm0", "hfrm1", "denoiser", "idwt"}
    for tensors in certificate["stages"].values():
        for figures in tensors.values():
            assert figures["max_abs_error"] <= 1e-3 * figures["range"]
    records = certificate["end_to_end"]
    assert any(record["batch"] == 2 for record in records)
    assert any(int(record["size"].split("x")[0]) % 2 for record in records)
    for record in records:
        assert record["grey_levels"] <= 1
        assert record["psnr_db"] >= 55
        assert "assets/sample.png" in record["photos"]
        assert record["sampling"] == "published"
        assert "default_rng" in record["noise"]


@pytest.mark.parametrize(("levels", "pad"), [(1, 2), (3, 8)])
def test_other_numbers_of_wavelet_levels(level_package, levels, pad):
    with Enhancer.open(level_package(levels)) as enhancer:
        assert enhancer.manifest.pad_multiple == pad
        assert len(enhancer.manifest.stages) == 3 + levels
        assert enhancer.noise_shape(40, 50) == (3, -(-40 // pad) * pad >> levels, -(-50 // pad) * pad >> levels)
        assert enhancer.self_test() <= 1


@pytest.fixture
def ready_graphs(tiny_package, monkeypatch):
    """Builds take the tiny package's graphs instead of tracing again; ``change`` may edit one on its way."""

    def change(name: str, content: bytes) -> bytes:
        return content

    changes = {"edit": change}

    def trace(stage, pad_multiple):
        return changes["edit"](stage.name, (tiny_package / f"{stage.name}.onnx").read_bytes())

    monkeypatch.setattr("export.assemble.trace", trace)
    return changes


def test_a_failed_comparison_leaves_no_package(make_checkpoint, ready_graphs, tmp_path):
    """One weight of one graph is wrong: the comparison finds it, and nothing is left behind."""

    def edit(name: str, content: bytes) -> bytes:
        if name != "hfrm1":
            return content
        model = onnx.load_from_string(content)
        bias = next(one for one in model.graph.initializer if list(one.dims) == [3])
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.5, bias.name))
        return model.SerializeToString()

    ready_graphs["edit"] = edit
    with pytest.raises(CertificateError, match=r"hfrm1: restored1 differs .* no package was written"):
        main([str(make_checkpoint()), "-o", str(tmp_path / "package")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["own.pth.tar", "own.safetensors"])
def test_the_samplings_that_a_checkpoint_was_trained_for_come_along(make_checkpoint, ready_graphs, tmp_path, name):
    weights = torch.load(make_checkpoint(), weights_only=False)["ema_helper"]
    trained = json.dumps({"fast": {"timesteps": [80, 40], "start": "zero", "coefficients": None, "judged": {}}})
    if name.endswith("safetensors"):
        save_file(weights, tmp_path / name, {"samplings": trained})
    else:
        torch.save({"ema_helper": weights, "samplings": trained}, tmp_path / name)
    main([str(tmp_path / name), "-o", str(tmp_path / "package")])
    fast = Package.open(tmp_path / "package").manifest.samplings["fast"]
    assert (fast.timesteps, fast.start) == ((80, 40), "zero")


def test_samplings_come_from_a_file_or_a_package_and_each_is_certified(make_checkpoint, ready_graphs, tmp_path):
    rows = [[0.9, -0.4, 0.0, 0.5, 0.25], [1.1, -0.3, 0.2, 0.0, 0.0]]
    more = {
        "fast": {"timesteps": [80, 40], "start": "zero", "coefficients": None, "judged": {"photos": 3}},
        "own": {"timesteps": [120, 30], "start": "normal", "coefficients": rows, "judged": {}},
    }
    file, first, second = tmp_path / "samplings.json", tmp_path / "first", tmp_path / "second"
    file.write_text(json.dumps({"samplings": more}))
    main([str(make_checkpoint()), "-o", str(first), "--samplings", str(file)])
    main([str(make_checkpoint()), "-o", str(second), "--samplings", str(first)])
    for package in (first, second):
        assert list(Package.open(package).manifest.samplings) == ["published", "fast", "own"]
        records = json.loads((package / "certificate.json").read_text())["end_to_end"]
        assert {(record["sampling"], record["steps"]) for record in records} == {
            ("published", 10),
            ("fast", 2),
            ("own", 2),
        }
        assert all(record["grey_levels"] <= 1 for record in records)
        assert all(("x_T is zero" in record["noise"]) == (record["sampling"] == "fast") for record in records)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot read samplings from it"),
        (json.dumps({"samplings": {"fast": {"timesteps": [1, 2]}}}), "timesteps that fall"),
        (json.dumps({"samplings": {"fast": JUDGED}}), "'fast' was judged on the checkpoint 000000000000"),
        (None, "cannot read samplings from it .*No such file"),
    ],
)
def test_samplings_that_do_not_fit_are_refused_before_tracing(make_checkpoint, tmp_path, content, words):
    file = tmp_path / "samplings.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises((InputError, PackageError), match=words):
        main([str(make_checkpoint()), "-o", str(tmp_path / "package"), "--samplings", str(file)])
    assert not (tmp_path / "package").exists()


def test_an_existing_package_is_replaced_only_when_asked(make_checkpoint, ready_graphs, tmp_path, tiny_package):
    output = tmp_path / "package"
    shutil.copytree(tiny_package, output)
    (output / "marker").write_text("old")
    (output / "certificate.json").write_text("old")
    for arguments, words in (((), "--overwrite"), (("--overwrite",), "what is not the package's ('marker')")):
        done = export_build(make_checkpoint(), "-o", output, *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert words in done.stderr
        assert (output / "marker").exists()
    (output / "marker").unlink()
    main([str(make_checkpoint()), "-o", str(output), "--overwrite"])
    assert (output / "certificate.json").read_text() != "old"
    assert [path.name for path in tmp_path.iterdir()] == ["package"]
    Package.open(output)


def test_a_folder_that_is_no_package_is_never_touched(make_checkpoint, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    done = export_build(make_checkpoint(), "-o", tmp_path / "mine", "--overwrite")
    assert done.returncode == 2
    assert "is no package" in done.stderr
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])  # Ctrl-C has SIGTERM's handler
def test_a_process_ended_in_the_middle_leaves_no_package(make_checkpoint, traces, tmp_path, stop):
    output = tmp_path / "package"
    command = [sys.executable, kept_traces.__file__, str(traces), str(make_checkpoint()), "-o", str(output)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("tracing hfrm0"):
            break
    process.send_signal(stop)
    process.stderr.read()
    assert process.wait(timeout=60) != 0
    assert not output.exists()
    if stop != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.pth.tar"], ["absent.pth.tar", "cannot read"]),
        (["README.md"], ["not a checkpoint's name"]),
        (["--precision", "fp12"], ["--precision"]),
        (["-o", "README.md/package"], ["README.md is not a folder"]),
    ],
)
def test_mistakes_are_one_line_and_exit_2_before_torch_is_loaded(arguments, words, tmp_path):
    output = [] if "-o" in arguments else ["-o", str(tmp_path / "p")]
    code = (
        "import runpy, sys\nsys.modules['torch'] = None\n"
        "runpy.run_module('export.build', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", code, *arguments, *output]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2
    assert len(errors) == 1
    assert all(word in errors[0] for word in words)
    assert "Traceback" not in done.stderr


def test_a_full_disk_leaves_nothing(make_checkpoint, ready_graphs, tmp_path, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        main([str(make_checkpoint()), "-o", str(tmp_path / "package")])
    assert list(tmp_path.iterdir()) == []


def test_progress_is_never_silent_for_long(tmp_path, monkeypatch):
    import runtime.cli.progress

    monkeypatch.setattr(runtime.cli.progress, "_HEARTBEAT_S", 0.05)
    log = tmp_path / "log.txt"
    with log.open("w") as stream, Progress(stream).task("working", "last time 3.0 s"):
        time.sleep(0.3)
    lines = log.read_text().splitlines()
    assert lines[0] == "working ... (last time 3.0 s)"
    assert len(lines) >= 4
    assert lines[-1].startswith("working done in 0.")


def test_bundled_package_is_small_and_opens_on_arrays(bundled_package):
    size = sum(path.stat().st_size for path in bundled_package.iterdir())
    assert size < 25e6
    assert list(Package.open(bundled_package).manifest.samplings) == ["published", "fast"]
    with Enhancer.open(bundled_package) as enhancer:
        result = enhancer(np.full((8, 8, 3), 10, np.uint8), steps=2)
    assert result.shape == (8, 8, 3)
    assert os.access(bundled_package / "manifest.json", os.R_OK)
