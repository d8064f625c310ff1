"""Samplings in the benchmarks: what runs, under which id, beside which baseline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from relabelled import with_fast

from benchmarks.baselines import baseline_configs
from benchmarks.cli import main
from benchmarks.configs import open_packages, package_configs
from benchmarks.describe import head, key_of
from benchmarks.job import SEED, Job, Loop
from benchmarks.loops import Loops
from benchmarks.measure import Bench
from benchmarks.photos import synthetic
from benchmarks.records import digest, read_records
from benchmarks.runners import open_runner
from runtime.enhancer import Enhancer
from runtime.errors import InputError

PUBLISHED, FAST = Loop(10, "ddim", "published"), Loop(2, "ddim", "fast")


@pytest.fixture(scope="module")
def package(tiny_package, tmp_path_factory) -> Path:
    return with_fast(tiny_package, tmp_path_factory.mktemp("fast"))


def test_loops_are_samplings_by_name_and_evenly_spaced_steps(package, tiny_package):
    ((own, _),), ((plain, _),) = open_packages([package]), open_packages([tiny_package])
    assert Loops().of(own) == [PUBLISHED]  # the user asks for more
    assert Loops([10, 2]).of(own) == [PUBLISHED, Loop(2, "ddim")]
    assert Loops([5], ["fast", "published"]).of(own) == [FAST, PUBLISHED, Loop(5, "ddim")]
    assert Loops(sampler="dpmpp-2m").of(own) == [Loop(10, "dpmpp-2m")]
    assert [loop.words for loop in Loops([7, 5], sampler="dpmpp-2m").of(own)] == [
        "7 steps of dpmpp-2m", "5 steps of dpmpp-2m",
    ]  # fmt: skip
    assert Loops(samplings=["published", "fast"], instead=2).of(plain) == [PUBLISHED, Loop(2, "ddim")]
    with pytest.raises(InputError, match=r"tiny-fast: .* no sampling 'quick'; use one that it has: published, fast"):
        Loops(samplings=["quick"]).of(own)


def test_published_keeps_its_id_and_a_sampling_has_its_own(package, tiny_package, tmp_path, make_checkpoint):
    def keys(path: Path) -> dict[str, str]:
        loops = Loops([2], ["published", "fast"])
        given, checkpoint = open_packages([path]), [make_checkpoint()]
        found = [
            *package_configs(given, [(8, 8)], ["onnxruntime"], loops),
            *(one for one in baseline_configs(["pytorch"], given, [(8, 8)], loops, checkpoint, quick=True)
              if one.job.variant == "eager fp32"),
        ]  # fmt: skip
        published = found[0]
        assert key_of(published, {}, {}) == digest([published.subject, (8, 8), 1, 10, "ddim", {}, {}])
        assert key_of(replace(published, job=replace(published.job, sampling="")), {}, {}) == key_of(published, {}, {})
        record = head(found[1], {}, {})
        assert (record["sampling"], record["calls"], record["steps"]) == ("fast", 2, 2)
        assert head(found[2], {}, {})["sampling"] is None
        return {f"{one.job.kind} {one.job.loop.words}": key_of(one, {}, {}) for one in found}

    own, other = keys(package), keys(with_fast(tiny_package, tmp_path, (100, 50)))
    assert len({*own.values(), *other.values()}) == 10  # of the same weights PyTorch's fast alone differs
    assert {name for name in own if own[name] == other[name]} == {"pytorch published", "pytorch 2 steps"}


@pytest.mark.parametrize(
    ("words", "of_package", "of_pytorch"),
    [
        ([], ["published"], ["published"]),
        (["--sampling", "fast"], ["fast"], ["published"]),
        (["--sampling", "published", "fast", "--steps", "5"], ["published", "fast", "5 steps"],
         ["published", "5 steps"]),
        (["--steps", "5"], ["5 steps"], ["5 steps"]),
        (["--sampling", "fast", "--baseline-sampling", "fast"], ["fast"], ["published", "fast"]),
    ],
)  # fmt: skip
def test_pytorch_runs_the_published_loop_and_others_where_asked(
    package, make_checkpoint, monkeypatch, words, of_package, of_pytorch
):
    given = []
    monkeypatch.setattr("benchmarks.run.run", lambda output, configs, *rest: given.extend(configs) or 0)
    line = [str(package), "--size", "8x8", "--quick", "--checkpoint", str(make_checkpoint())]
    assert main([*line, "--baseline", "pytorch", "naive-onnx", *words]) == 0
    found = {name: [one.job.loop.words for one in given if name in one.label] for name in ("tiny-fast", "eager fp32")}
    assert list(found.values()) == [of_package, of_pytorch]
    traced = {one.job.loop.words for one in given if one.job.kind == "naive-onnx"}
    assert traced == set(of_pytorch) - {"fast"}


def test_a_package_and_pytorch_run_the_sampling_from_zero(package, make_checkpoint):
    photo = synthetic(44, 30)
    with Enhancer.open(package) as enhancer:
        fast, published = enhancer(photo, sampling="fast"), enhancer(photo, seed=SEED)
    job = Job("package", str(package), 2, "ddim", "onnxruntime", sampling="fast")
    runner = open_runner(job)
    np.testing.assert_array_equal(runner.run(photo), fast)
    assert len(runner.step_ms) == 2
    np.testing.assert_array_equal(open_runner(replace(job, steps=10, sampling="published")).run(photo), published)
    eager = Job("pytorch", str(package), 2, "ddim", checkpoint=str(make_checkpoint()), variant="eager fp32")
    picture = open_runner(replace(eager, sampling="fast")).run(photo)
    assert np.abs(picture.astype(int) - fast).max() <= 1
    assert np.abs(open_runner(eager).run(photo).astype(int) - fast).max() > 1


def test_a_row_has_calls_and_quality_beside_the_time(package, tmp_path, monkeypatch, capsys):
    from benchmarks.report import main as report

    peak = {"cpu": {"float32": 100.0}, "cuda": None, "how": "made up"}
    monkeypatch.setattr(Bench, "gemm_peak", lambda *_: peak)
    for name, bright in (("low", 60), ("high", 200)):
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(0).integers(0, bright, (24, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
    line = [str(package), "--size", "40x24", "--rounds", "1", "-o", str(tmp_path / "r.jsonl")]
    pairs = ["--photo", str(tmp_path / "low"), "--reference", str(tmp_path / "high")]
    assert main([*line, *pairs, "--sampling", "published", "fast"]) == 0
    published, fast = read_records(tmp_path / "r.jsonl")
    assert (published["sampling"], published["calls"]) == ("published", 10)
    assert (fast["sampling"], fast["calls"], fast["noise_seed"]) == ("fast", 2, None)
    assert fast["gflop"] < published["gflop"]
    assert fast["fidelity"]["against"] == fast["id"]
    assert fast["fidelity_to_published_steps"]["against"] == published["id"]
    assert main([*line, *pairs, "--steps", "10"]) == 0
    assert "1 of 1 configurations are there already" in capsys.readouterr().err
    assert report([str(tmp_path / "r.jsonl")]) == 0
    quality = f"{fast['quality']['psnr_db']:.2f} | {fast['quality']['ssim']:.3f}"
    assert f"| 40x24 | onnxruntime fp32 | tiny-fast | fast | 2 | {quality} | " in capsys.readouterr().out


def test_quality_compares_samplings_with_the_published_picture(package, tmp_path, capsys):
    from benchmarks.quality import main as quality

    for name, bright in (("low", 60), ("high", 200)):
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(0).integers(0, bright, (24, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "a.png")

    def rows(*words: str) -> list[list[str]]:
        assert quality([str(package), str(tmp_path), *words]) == 0
        return [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]

    assert [row[:2] for row in rows()] == [["| input", "-"], ["| published", "10"]]
    found = rows("--sampling", "fast", "published", "--steps", "2", "3", "--sampler", "ddim", "dpmpp-2m")
    assert [row[:2] for row in found[1:]] == [
        ["| fast", "2"], ["| published", "10"], ["| 2 steps", "2"], ["| 2 steps of dpmpp-2m", "2"],
        ["| 3 steps of dpmpp-2m", "3"],
    ]  # fmt: skip
    assert [row[4] == "-" for row in found] == [True, False, True, False, False, False]
    assert found[1][2:4] != found[3][2:4]
    for words, message in ((["--sampling", "quick"], "no sampling 'quick'"), (["--steps", "6"], "does not divide 200")):
        with pytest.raises(InputError, match=message):
            quality([str(package), str(tmp_path), *words])
