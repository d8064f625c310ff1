from __future__ import annotations

import numpy as np
import pytest

from runtime.image import PSNR_CEILING, decibels, padded_size, psnr, reflect_indices, to_pixels, to_tensor


@pytest.mark.parametrize(("size", "padded"), [(1, 32), (31, 32), (32, 32), (33, 64), (400, 416), (600, 608)])
def test_padded_size(size, padded):
    assert padded_size(size, 32) == padded


def test_reflection_equals_numpy_which_reflects_like_torch():
    for size, padded in ((17, 32), (20, 32), (333, 352), (32, 32)):
        expected = np.pad(np.arange(size), (0, padded - size), "reflect")
        assert reflect_indices(size, padded).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("size", "padded", "expected"),
    [(1, 4, [0, 0, 0, 0]), (2, 6, [0, 1, 0, 1, 0, 1]), (3, 8, [0, 1, 2, 1, 0, 1, 2, 1])],
)
def test_reflection_of_photos_smaller_than_their_padding(size, padded, expected):
    assert reflect_indices(size, padded).tolist() == expected


def test_to_tensor_pads_right_and_bottom_and_keeps_rgb():
    photo = np.zeros((1, 3, 5, 3), np.uint8)
    photo[0, :, :, 0], photo[0, 1, 2] = 255, (51, 102, 204)
    tensor = to_tensor(photo, 4)
    assert tensor.shape == (1, 3, 4, 8)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor[0, :, 1, 2], [0.2, 0.4, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(tensor[0, :, 3], tensor[0, :, 1])  # the row below the last mirrors the one above
    np.testing.assert_array_equal(tensor[0, :, :, 5], tensor[0, :, :, 3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_value_survives_the_round_trip(dtype):
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    photo = np.repeat(values.reshape(1, 16, -1, 1), 3, axis=3)
    back = to_pixels(to_tensor(photo, 16), 16, photo.shape[2], np.dtype(dtype))
    np.testing.assert_array_equal(back, photo)


def test_rounding_is_half_up():
    image = np.array([0.0, 0.4999 / 255, 0.5 / 255, 1.4999 / 255, 254.5 / 255, 1.0], np.float32)
    pixels = to_pixels(np.broadcast_to(image, (1, 3, 1, 6)), 1, 6, np.dtype(np.uint8))
    assert pixels[0, 0, :, 1].tolist() == [0, 0, 1, 1, 255, 255]
    assert pixels.shape == (1, 1, 6, 3)


def test_psnr_has_a_ceiling_and_takes_no_wrap_around():
    a = np.zeros((2, 2, 3), np.uint8)
    b = a.copy()
    b[0, 0, 0] = 255
    assert psnr(a, b, 255) == psnr(b, a, 255) == pytest.approx(10 * np.log10(12))
    assert psnr(a, a, 255) == decibels(0) == decibels(1e-30) == PSNR_CEILING == 200
