"""The enhancer on onnxruntime: what it takes, what it refuses, and that the same input gives the same output."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from runtime import BackendUnavailableError, EngineError, Enhancer, InputError, PackageError


@pytest.fixture(scope="module")
def enhancer(tiny_package):
    with Enhancer.open(tiny_package) as opened:
        yield opened


def dark(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (33, 1), (15, 17), (16, 16), (47, 65)])
def test_any_size_equals_the_pytorch_model(bundled_package, height, width):
    import torch

    from export.checkpoint import load_checkpoint
    from export.files import bundled_checkpoint
    from runtime.image import to_pixels, to_tensor

    model = load_checkpoint(bundled_checkpoint()).model()
    photo = dark(height, width)
    with Enhancer.open(bundled_package) as enhancer:
        noise = np.random.default_rng(5).standard_normal(enhancer.noise_shape(height, width), np.float32)
        found = enhancer(photo, noise=noise)
    with torch.inference_mode():
        image = model(
            torch.from_numpy(to_tensor(photo[None], model.arch.pad_multiple)), torch.from_numpy(noise[None])
        ).numpy()
    expected = to_pixels(image, height, width, photo.dtype)[0]
    assert found.shape == photo.shape
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_golden_sample(enhancer, bundled_package):
    assert enhancer.self_test() <= 1
    with Enhancer.open(bundled_package) as bundled:
        assert bundled.self_test() <= 1


def test_self_test_notices_a_wrong_result(enhancer, monkeypatch):
    golden = enhancer.package.golden()
    golden["expected"] = golden["expected"] ^ 8
    monkeypatch.setattr(type(enhancer.package), "golden", lambda package: golden)
    with pytest.raises(EngineError, match="self-test failed"):
        enhancer.self_test()


def test_bundled_model_brightens_the_sample_photo(bundled_package):
    from export.certificate.cases import golden_photo

    photo = golden_photo()
    with Enhancer.open(bundled_package) as bundled:
        bright = bundled(photo)
    assert photo.mean() < 60
    assert bright.mean() > 2 * photo.mean()


def test_same_seed_same_picture_and_default_seed_is_0(enhancer):
    photo = dark(20, 30)
    np.testing.assert_array_equal(enhancer(photo), enhancer(photo, seed=0))
    assert (enhancer(photo) != enhancer(photo, seed=1)).any()
    field = np.random.default_rng(4).standard_normal(enhancer.noise_shape(20, 30), np.float32)
    np.testing.assert_array_equal(enhancer(photo, seed=4), enhancer(photo, noise=field))


def test_an_earlier_photo_leaves_nothing_behind(enhancer):
    photo = dark(20, 30)
    first = enhancer(photo, steps=5)
    enhancer(255 - photo, steps=10, seed=9)
    enhancer(dark(50, 20), steps=1)
    np.testing.assert_array_equal(enhancer(photo, steps=5), first)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_steps(enhancer, steps):
    photo = dark(16, 16)
    result = enhancer(photo, steps=steps)
    assert result.shape == photo.shape
    assert (result != enhancer(photo)).any()


def test_a_batch_is_its_photos_one_by_one(enhancer):
    photos = np.stack([dark(20, 30, seed) for seed in range(3)])
    together = enhancer(photos, seed=3)
    assert together.shape == photos.shape
    as_list = enhancer(list(photos), seed=3)
    assert isinstance(as_list, list)
    for index, photo in enumerate(photos):
        alone = enhancer(photo, seed=3).astype(int)
        assert np.abs(together[index] - alone).max() <= 1
        np.testing.assert_array_equal(as_list[index], together[index])


def test_a_batch_takes_one_noise_or_one_each(enhancer):
    photos = np.stack([dark(16, 16)] * 2)
    shape = enhancer.noise_shape(16, 16)
    noise = np.random.default_rng(1).standard_normal((2, *shape), np.float32)
    each = enhancer(photos, noise=noise)
    assert (each[0] != each[1]).any()
    same = enhancer(photos, noise=noise[0])
    np.testing.assert_array_equal(same[0], same[1])


def test_16_bits_stay_16_bits(enhancer):
    photo = dark(20, 30)
    wide = photo.astype(np.uint16) * 257
    noise = np.zeros(enhancer.noise_shape(20, 30), np.float32)
    result = enhancer(wide, noise=noise)
    assert result.dtype == np.uint16
    narrow = enhancer(photo, noise=noise)
    assert np.abs(result / 257 - narrow).max() <= 0.51
    assert len(np.unique(result % 257)) > 100  # depth that 8 bits do not have


def test_the_photo_may_be_read_only_or_strided(enhancer):
    photo = dark(40, 60)
    photo.setflags(write=False)
    np.testing.assert_array_equal(enhancer(photo[::2, ::2]), enhancer(photo[::2, ::2].copy()))


@pytest.mark.parametrize(
    "photo",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        [],
        [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)],
        [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint16)],
        "photo.png",
        None,
    ],
    ids=lambda photo: str(getattr(photo, "shape", type(photo).__name__)),
)
def test_wrong_photos_are_refused(enhancer, photo):
    with pytest.raises(InputError, match=r"wanted|differ|at least one"):
        enhancer(photo)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": np.zeros((3, 8, 8), np.float32)}, r"\(3, 4, 4\)"),
        ({"noise": np.zeros((3, 4, 4))}, "float64"),
        ({"noise": np.full((3, 4, 4), np.nan, np.float32)}, "NaN"),
        ({"noise": [0.0]}, "list"),
        ({"noise": np.zeros((3, 4, 4), np.float32), "seed": 1}, "both"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"steps": 7}, "does not divide 200"),
        ({"steps": 0}, "does not divide 200"),
    ],
)
def test_wrong_arguments_are_refused(enhancer, arguments, message):
    with pytest.raises(InputError, match=message):
        enhancer(dark(16, 16), **arguments)


def test_a_result_with_nan_is_an_error_and_not_a_picture(enhancer, monkeypatch):
    monkeypatch.setattr(enhancer.backend, "download", lambda buffer: np.full((1, 3, 16, 16), np.nan, np.float32))
    with pytest.raises(EngineError, match="NaN"):
        enhancer(dark(16, 16))


def test_unknown_backend_and_absent_provider_are_refused_by_name(tiny_package):
    with pytest.raises(InputError, match="backend 'fast' is not known; use one of onnxruntime"):
        Enhancer.open(tiny_package, backend="fast")
    with pytest.raises(BackendUnavailableError, match="NopeExecutionProvider is not in this build"):
        Enhancer.open(tiny_package, providers=["Nope"])


def test_timings_name_every_part(enhancer):
    enhancer(dark(16, 16))
    assert list(enhancer.timings) == [
        "pad", "upload", "dwt", "hfrm0", "hfrm1", "denoiser", "idwt", "download", "crop",
    ]  # fmt: skip
    assert all(value >= 0 for value in enhancer.timings.values())
    assert enhancer.timings["denoiser"] == pytest.approx(sum(enhancer.step_timings))
    assert len(enhancer.step_timings) == 10
    assert min(enhancer.step_timings) > 0


def test_every_step_is_timed(enhancer):
    enhancer(dark(16, 16), steps=4)
    enhancer(dark(16, 16), steps=2)
    assert len(enhancer.step_timings) == 2
    assert sum(enhancer.step_timings) == pytest.approx(enhancer.timings["denoiser"])


def test_a_graph_with_other_tensors_than_the_manifest_says_is_refused(tiny_package, tmp_path):
    package = tmp_path / "package"
    shutil.copytree(tiny_package, package)
    manifest = json.loads((package / "manifest.json").read_text())
    stages = {stage["name"]: stage for stage in manifest["stages"]}
    stages["hfrm0"]["file"] = "dwt.onnx"
    (package / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match=r"dwt.onnx: no graph of a package: its inputs are image float32"):
        Enhancer.open(package)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": np.array([10, 10])},
        {"steps": np.float32(10)},
        {"noise": np.zeros((3, 1, 1), np.float32)},
        {"photo": np.zeros((4, 4, 3), np.float32)},
        {"expected": np.zeros((4, 4, 3), np.uint8)},
        {"expected": None},
    ],
    ids=str,
)
def test_an_odd_golden_sample_is_refused(tiny_package, tmp_path, change):
    package = tmp_path / "package"
    shutil.copytree(tiny_package, package)
    with np.load(package / "golden.npz") as arrays:
        golden = {name: arrays[name] for name in arrays.files} | change
    np.savez(package / "golden.npz", **{name: array for name, array in golden.items() if array is not None})
    content = (package / "golden.npz").read_bytes()
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"]["golden.npz"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (package / "manifest.json").write_text(json.dumps(manifest))
    with Enhancer.open(package) as opened, pytest.raises(PackageError, match="no golden sample"):
        opened.self_test()
