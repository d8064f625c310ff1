"""The bits of bfloat16 against those of ml_dtypes, which onnx brings along."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.backends import bfloat16


def test_the_nearest_value_ties_to_even():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(10_000) * 10.0 ** rng.integers(-30, 30, 10_000)).astype(np.float32)
    ties = (np.arange(0x3F80, 0x3FC0, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    for array in (values, ties, np.array([0, -0.0, np.inf, -np.inf, 3.4e38], np.float32)):
        expected = array.astype(ml_dtypes.bfloat16)
        bits = bfloat16.to_bits(array)
        np.testing.assert_array_equal(bits, expected.view(np.uint16))
        np.testing.assert_array_equal(bfloat16.from_bits(bits), expected.astype(np.float32))


def test_host_arrays_of_every_dtype():
    for dtype in (np.float32, np.float16, np.int32, bfloat16.BITS):
        host = np.zeros((2, 3), dtype)
        values = np.arange(6, dtype=np.int32 if dtype is np.int32 else np.float32).reshape(2, 3)
        bfloat16.fill(host, values)
        found = bfloat16.floats(host)
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)
