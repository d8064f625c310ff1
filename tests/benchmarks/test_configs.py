"""What the command gets wrong is told by name, before anything is timed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from relabelled import relabelled

from benchmarks import baselines
from benchmarks.baselines import baseline_configs, find_checkpoints
from benchmarks.cli import main
from benchmarks.configs import certificate, open_packages, package_configs
from benchmarks.loops import Loops
from benchmarks.needs import baseline_bytes, package_bytes
from benchmarks.photos import Photos, synthetic
from export.files import bundled_checkpoint
from runtime.enhancer import Enhancer
from runtime.errors import DiffLLError, InputError, PackageError

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backend", "fast"], "backend 'fast' is not known; use one of onnxruntime"),
        (["--backend", "onnxruntime:Nope"], "provider NopeExecutionProvider is not in this build"),
        (["--backend", "openvino:GPU.7"], "has no device GPU.7 here"),
        (["--size", "60x"], "size '60x' is not WxH"),
        (["--size", "0x4"], "size 0x4 is smaller than 1x1"),
        (["--size", "64x48", "64x48"], "the same size was given twice"),
        (["--steps", "6"], "steps is 6, which does not divide 200"),
        (["--sampler", "euler"], "invalid choice: 'euler'"),
        (["--sampling", "quick"], "has no sampling 'quick'; use one that it has: published."),
        (["--sampling", "published", "fast"], "has no sampling 'fast' (`python -m calibration.sampling` finds one)"),
        (["--sampling", "published", "published"], "the same sampling was given twice"),
        (["--sampling", "published", "--steps", "10"], "'published' and 10 steps are the same loop; give one"),
        (["--sampling", "published", "--sampler", "dpmpp-2m"], "--sampler dpmpp-2m is for --steps"),
        (["--baseline-sampling", "fast"], "--baseline-sampling is for --baseline pytorch, which was not given"),
        (["--rounds", "0"], "--rounds is a number from 1 up"),
        (["--baseline", "tensorflow"], "invalid choice: 'tensorflow'"),
        (["--baseline", "pytorch"], "which --baseline needs; give it with --checkpoint FILE"),
        (["--checkpoint", "x.pth"], "--checkpoint is for --baseline"),
        (["--photo", "nowhere"], "nowhere: does not exist"),
        (["--reference", "x.png"], "needs --photo"),
        (["-o", "/dev/null/x"], "/dev/null/x: cannot be written"),
    ],
)
def test_mistakes_are_told_by_name_and_leave_no_record(tiny_package, tmp_path, capsys, words, message):
    line = [str(tiny_package), "--size", "32x24"] if "--size" not in words else [str(tiny_package)]
    line += words if "-o" in words else [*words, "-o", str(tmp_path / "r.jsonl")]
    with pytest.raises((DiffLLError, SystemExit)) as caught:
        main(line)
    said = capsys.readouterr().err
    assert message in (said if isinstance(caught.value, SystemExit) else str(caught.value))
    assert "in turns" not in said
    assert not (tmp_path / "r.jsonl").exists() or not (tmp_path / "r.jsonl").read_bytes()


def test_a_mistake_is_one_line_and_exit_code_2(tiny_package, tmp_path):
    line = [sys.executable, "-m", "benchmarks", str(tiny_package), "--backend", "fast", "-o", str(tmp_path / "r.jsonl")]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: backend 'fast' is not known")
    assert done.stderr.count("\n") == 1


def test_a_package_that_is_missing_damaged_or_there_twice(tiny_package, tmp_path):
    with pytest.raises(PackageError, match="does not exist"):
        open_packages([tmp_path / "nowhere"])
    copy = shutil.copytree(tiny_package, tmp_path / "copy")
    with pytest.raises(InputError, match="the same package as"):
        open_packages([tiny_package, copy])
    content = bytearray((copy / "hfrm1.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "hfrm1.onnx").write_bytes(content)
    with pytest.raises(PackageError, match=r"hfrm1.onnx: its sha256 is not the manifest's"):
        open_packages([copy])


def test_packages_times_backends_times_steps_times_sizes(tiny_package, tmp_path):
    packages = open_packages([tiny_package, relabelled(tiny_package, tmp_path, "fp16")])
    found = list(package_configs(packages, [(64, 48), (33, 20)], ["onnxruntime", "openvino:CPU"], Loops([5, 10])))
    assert len(found) == 16
    assert [config.size for config in found] == [(64, 48)] * 8 + [(33, 20)] * 8
    assert found[-1].padded == (40, 24)
    assert len({str(config.subject) + str((config.size, config.job.steps)) for config in found}) == 16
    assert {config.checkpoint_sha256 for config in found} == {found[0].checkpoint_sha256}
    assert not any(config.on_device for config in found)
    assert next(package_configs(packages, [(8, 8)], ["onnxruntime:CUDA"], Loops())).on_device
    assert certificate(packages[0][0])["grey_levels"] < 1
    ten, five = (next(one for one in found if one.job.steps == steps) for steps in (10, 5))
    cost = packages[0][0].manifest.cost
    assert ten.flop - five.flop == 5 * cost["denoiser"].flop.at(48, 64)
    assert five.flop == sum(one.flop.at(48, 64) for one in cost.values()) + 4 * cost["denoiser"].flop.at(48, 64)


def test_what_a_photo_needs_is_what_the_runtime_plans(tiny_package, make_checkpoint):
    """Of a package with its engine, whatever is free here; of a baseline by the same costs."""
    packages, sizes = open_packages([tiny_package]), [(64, 48), (8000, 6000)]
    with Enhancer.open(tiny_package) as enhancer:
        planned = enhancer.plan(64, 48, kind="whole").peak_bytes
        small, large = (package_bytes(enhancer, *size) for size in sizes)
    assert small == pytest.approx(planned, rel=0.2)  # the process itself grows
    cost = packages[0][0].manifest.cost
    assert large > cost["denoiser"].live_bytes.at(6000, 8000) > 1 << 30
    found = list(
        baseline_configs(["pytorch", "naive-onnx"], packages, sizes, Loops([1]), [make_checkpoint()], quick=True)
    )
    for config in found:
        scores = cost["denoiser"].plain_live_bytes.at(*config.padded[::-1])
        assert scores < baseline_bytes(config) < 2 * scores + (1 << 30)


def test_baselines_take_the_checkpoint_that_the_package_was_built_from(tiny_package, make_checkpoint, monkeypatch):
    monkeypatch.setattr(baselines, "describe", lambda: {"features": ["avx512f", "avx512_fp16"]})
    monkeypatch.setattr(baselines, "current_gpu", lambda: None)
    monkeypatch.setattr(baselines, "torch_has_gpu", lambda: False)
    packages, own = open_packages([tiny_package]), make_checkpoint()
    with pytest.raises(InputError, match=r"built from the checkpoint 'tiny.pth.tar' .* give it with --checkpoint"):
        find_checkpoints(packages, [])
    with pytest.raises(InputError, match="none of the packages was built from this checkpoint"):
        find_checkpoints(packages, [own, bundled_checkpoint()])
    assert list(find_checkpoints(packages, [own]).values()) == [str(own)]
    every = list(baseline_configs(["pytorch", "naive-onnx"], packages, [(8, 8)], Loops(), [own], quick=False))
    assert [config.label for config in every] == [
        f"{name}, published, 8x8"
        for name in ("pytorch eager fp32", "pytorch eager bf16", "pytorch eager fp16", "pytorch compile fp32",
                     "naive-onnx stages", "naive-onnx unrolled")
    ]  # fmt: skip
    assert [config.precision for config in every] == ["fp32", "bf16", "fp16", "fp32", "fp32", "fp32"]
    quick = baseline_configs(["pytorch"], packages, [(8, 8)], Loops(), [own], quick=True)
    assert [config.job.variant for config in quick] == ["eager fp32", "eager bf16", "eager fp16"]
    monkeypatch.setattr(baselines, "describe", lambda: {"features": ["avx512f", "avx512_bf16"]})
    without = baseline_configs(["pytorch"], packages, [(8, 8)], Loops(), [own], quick=True)
    assert [config.job.variant for config in without] == ["eager fp32", "eager bf16"]
    with monkeypatch.context() as older:
        older.setattr(baselines, "describe", lambda: {"features": ["avx2", "fma"]})
        oldest = list(baseline_configs(["pytorch"], packages, [(8, 8)], Loops(), [own], quick=True))
    assert [config.job.variant for config in oldest] == ["eager fp32"]
    monkeypatch.setattr(baselines, "torch_has_gpu", lambda: True)
    on_gpu = list(baseline_configs(["pytorch"], packages, [(8, 8)], Loops(), [own], quick=True))
    assert [config.job.variant for config in on_gpu] == ["eager fp32", "eager tf32", "eager bf16"]
    assert [config.precision for config in on_gpu] == ["fp32", "fp32", "bf16"]
    assert len({str(config.subject) for config in on_gpu}) == 3
    assert on_gpu[1].label == "pytorch eager tf32, published, 8x8"
    with pytest.raises(InputError, match="--baseline runs the published sampler"):
        list(baseline_configs(["pytorch"], packages, [(8, 8)], Loops(sampler="dpmpp-2m"), [own], quick=False))


def test_the_bundled_checkpoint_needs_no_option(tiny_package, tmp_path):
    copy = Path(shutil.copytree(tiny_package, tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["provenance"]["checkpoint_sha256"] = sha256(bundled_checkpoint().read_bytes()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert list(find_checkpoints(open_packages([copy]), []).values()) == [str(bundled_checkpoint())]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("manifest.json", {"architecture": [1]}, "provenance: 'architecture' is [1], and whole numbers, and lists of"),
        ("manifest.json", {"architecture": {"ch": float("nan")}}, "provenance: 'architecture' is {'ch': nan}"),
        ("manifest.json", {"architecture": {"ch": {"a": 1}}}, "provenance: 'architecture' is {'ch': {'a': 1}}"),
        ("manifest.json", {"checkpoint_sha256": 7}, "provenance: 'checkpoint_sha256' is 7, and 64 hexadecimal"),
        ("manifest.json", {"checkpoint": {}}, "provenance: 'checkpoint' is {}, and str is wanted"),
        ("certificate.json", {"end_to_end": {}}, "'end_to_end' is {}, and list is wanted"),
        ("certificate.json", {"end_to_end": [{}]}, "end_to_end[0]: the key 'psnr_db' is missing"),
        ("certificate.json", {"end_to_end": [{"psnr_db": "x"}]}, "end_to_end[0]: 'psnr_db' is 'x', and a number"),
    ],
)
def test_what_records_tell_of_a_package_is_checked_first(tiny_package, tmp_path, name, content, words):
    """Certificates and provenance may be of any form where a photo alone is enhanced."""
    copy = Path(shutil.copytree(tiny_package, tmp_path / "copy"))
    text = json.dumps(content).encode()
    manifest = json.loads((copy / "manifest.json").read_text())
    if name == "manifest.json":
        manifest["provenance"] = content
    else:
        (copy / name).write_bytes(text)
        manifest["files"][name] = {"sha256": sha256(text).hexdigest(), "bytes": len(text)}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    for word in (f"{copy / name}: ", words):
        with pytest.raises(PackageError, match=re.escape(word)):
            open_packages([copy])


def test_the_synthetic_photo_is_dark_and_always_the_same():
    photo = synthetic(120, 80)
    assert photo.shape == (80, 120, 3)
    assert photo.dtype == np.uint8
    assert 2 < photo.mean() < 40
    assert photo.std() > 3
    np.testing.assert_array_equal(photo, synthetic(120, 80))


def test_photos_are_paired_by_name_and_scored_at_their_own_size(tmp_path):
    for folder in ("low", "high"):
        (tmp_path / folder).mkdir()
    for name, size in (("a.png", (30, 20)), ("b.png", (40, 20)), ("c.png", (30, 20))):
        Image.new("RGB", size, (9, 9, 9)).save(tmp_path / "low" / name)
        if name != "c.png":
            Image.new("RGB", size, (200, 99, 9)).save(tmp_path / "high" / name)
    photos = Photos.find(tmp_path / "low", tmp_path / "high")
    photos.check()
    assert [Path(low).name for low, _ in photos.pairs_of((30, 20))] == ["a.png"]
    assert photos.pairs_of((60, 40)) == []
    assert photos.make((15, 10)).shape == (10, 15, 3)
    with pytest.raises(InputError, match="two files or two folders"):
        Photos.find(tmp_path / "low" / "a.png", tmp_path / "high")
    Image.new("RGB", (31, 20)).save(tmp_path / "high" / "a.png")
    with pytest.raises(InputError, match="their sizes differ"):
        photos.check()
