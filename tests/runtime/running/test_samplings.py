"""Samplings of a package: chosen by name, from noise or from zero, however a photo is run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sampled import FAST, with_manifest, with_samplings

from runtime import Enhancer, InputError, PackageError
from runtime.package.reading import Package

ROWS = [[0.9, -0.4, 0.0, 0.5, 0.25], [1.1, -0.3, 0.2, 0.0, 0.0]]
MORE = {
    **FAST,
    "once": {"timesteps": [60], "start": "zero", "coefficients": None, "judged": {}},
    "own": {"timesteps": [120, 30], "start": "normal", "coefficients": ROWS, "judged": {}},
}


@pytest.fixture(scope="module")
def package(tiny_package, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("samplings") / "package"
    return with_samplings(tiny_package, target, MORE)


@pytest.fixture(scope="module")
def enhancer(package):
    with Enhancer.open(package) as opened:
        yield opened


def dark(seed: int = 1, height: int = 47, width: int = 65) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)


def test_the_manifest_keeps_them(package, tiny_package):
    manifest = Package.open(package).manifest
    assert list(manifest.samplings) == ["published", "fast", "once", "own"]
    assert manifest.samplings["fast"].timesteps == (80, 40)
    assert manifest.samplings["own"].coefficients == tuple(map(tuple, ROWS))
    assert manifest.samplings["fast"].judged == {"photos": 3}
    assert json.loads(manifest.to_json())["samplings"].keys() == manifest.samplings.keys()
    published = Package.open(tiny_package).manifest.samplings["published"]
    assert published.timesteps == (180, 160, 140, 120, 100, 80, 60, 40, 20, 0)
    assert (published.start, published.coefficients) == ("normal", None)


def test_published_is_what_runs_without_a_word(enhancer):
    expected = enhancer(dark(), seed=3)
    assert len(enhancer.step_timings) == 10
    for loop in ({"sampling": "published"}, {"steps": 10}, {"steps": 10, "sampler": "ddim"}):
        np.testing.assert_array_equal(enhancer(dark(), seed=3, **loop), expected)


def test_a_package_of_format_2_has_the_published_one_alone(package, tmp_path, enhancer):
    def older(manifest):
        manifest["format_version"] = 2
        del manifest["samplings"]

    with Enhancer.open(with_manifest(package, tmp_path / "old", older)) as old:
        assert list(old.manifest.samplings) == ["published"]
        np.testing.assert_array_equal(old(dark()), enhancer(dark()))
        with pytest.raises(InputError, match=r"no sampling 'fast' .*calibration\.sampling.*it has: published"):
            old(dark(), sampling="fast")


def test_from_zero_equals_noise_of_zeros_for_calls_batches_and_streams(enhancer):
    """The same timesteps from a noise of zeros: ten even steps cannot say so, a sampling with a start of noise can."""
    photo = dark()
    first = enhancer(photo, sampling="fast")
    assert len(enhancer.step_timings) == 2
    enhancer(photo, seed=1)  # writes the loop's buffers in between
    np.testing.assert_array_equal(enhancer(photo, sampling="fast"), first)
    np.testing.assert_array_equal(enhancer(np.stack([photo, photo]), sampling="fast")[1], first)
    frames = [dark(seed) for seed in range(3)]
    expected = [enhancer(frame, sampling="fast") for frame in frames]
    for one, result in zip(expected, enhancer.stream(frames, sampling="fast"), strict=True):
        np.testing.assert_array_equal(result, one)


@pytest.mark.parametrize("start", ["normal", "zero"])
def test_both_starts_agree_where_the_noise_is_zero(package, tmp_path, start):
    def begin(manifest):
        manifest["samplings"]["fast"]["start"] = start

    with Enhancer.open(with_manifest(package, tmp_path / start, begin)) as opened:
        noise = np.zeros(opened.noise_shape(47, 65), np.float32) if start == "normal" else None
        found = opened(dark(), sampling="fast", noise=noise)
    with Enhancer.open(package) as opened:
        np.testing.assert_array_equal(found, opened(dark(), sampling="fast"))


@pytest.mark.parametrize("kind", ["strips", "tiles"])
def test_strips_and_tiles_start_from_zero_too(enhancer, kind):
    photo = dark(2, 200, 96)
    whole = enhancer(photo, sampling="fast").astype(int)
    plan = enhancer.plan(96, 200, sampling="fast", kind=kind)
    assert plan.steps == 2
    assert np.abs(enhancer(photo, sampling="fast", plan=plan) - whole).max() <= (1 if kind == "strips" else 60)


def test_a_zero_start_uploads_no_noise(package):
    with Enhancer.open(package) as enhancer:
        enhancer(dark(), sampling="fast")
        uploads, upload = [], enhancer.backend.upload
        enhancer.backend.upload = lambda buffer, array: (uploads.append(array.shape), upload(buffer, array))
        enhancer(dark(), sampling="fast")
        assert uploads == [(1, 3, 48, 72)]


def test_own_coefficients_are_applied(enhancer):
    assert (enhancer(dark(), sampling="own", seed=1) != enhancer(dark(), sampling="own", seed=2)).any()


@pytest.mark.parametrize(
    ("loop", "words"),
    [
        ({"sampling": "quick"}, "no sampling 'quick'; use one that it has: published, fast, once, own"),
        ({"sampling": ["fast"]}, "no sampling"),
        ({"sampling": "fast", "steps": 2}, "both sampling and steps were given"),
        ({"sampling": "fast", "sampler": "ddim"}, "both sampling and sampler were given"),
        ({"sampling": "fast", "seed": 0}, "seed was given, and the sampling 'fast' starts from zero"),
        ({"sampling": "fast", "noise": np.zeros((3, 16, 24), np.float32)}, "noise was given, and the sampling 'fast'"),
    ],
)
def test_what_cannot_be_meant_is_an_error(enhancer, loop, words):
    for run in (lambda: enhancer(dark(), **loop), lambda: list(enhancer.stream([dark()], **loop))):
        with pytest.raises(InputError, match=words):
            run()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fast": MORE["fast"] | {"timesteps": [40, 80]}}, "timesteps that fall, each from 0 to 199"),
        ({"fast": MORE["fast"] | {"timesteps": [200, 40]}}, "timesteps that fall"),
        ({"fast": MORE["fast"] | {"timesteps": [40, 40]}}, "timesteps that fall"),
        ({"fast": MORE["fast"] | {"timesteps": [80, -1]}}, "timesteps that fall"),
        ({"fast": MORE["fast"] | {"timesteps": [80.0, 40]}}, "timesteps that fall"),
        ({"fast": MORE["fast"] | {"timesteps": []}}, "timesteps that fall"),
        ({"fast": MORE["fast"] | {"start": "one"}}, "'start' is 'one', and one of normal, zero is wanted"),
        ({"fast": MORE["fast"] | {"coefficients": ROWS[:1]}}, "null, or for each of 2 timesteps five numbers"),
        ({"fast": MORE["fast"] | {"coefficients": [ROWS[0], [1.0, 2.0, 3.0, 4.0, 1e300]]}}, "five numbers"),
        ({"fast": MORE["fast"] | {"more": 1}}, "unknown key 'more'"),
        ({"Fast one": MORE["fast"]}, "not one of small letters"),
        ({"published": MORE["fast"]}, "'published' is missing or not the schedule's"),
        ({f"s{n}": MORE["fast"] for n in range(40)}, "at most 32 are allowed"),
    ],
)
def test_a_strangers_samplings_are_checked(tiny_package, tmp_path, change, words):
    path = with_samplings(tiny_package, tmp_path / "odd", change)
    with pytest.raises(PackageError, match=words):
        Package.open(path)
