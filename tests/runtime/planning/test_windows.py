"""Windows and strips: every place is covered, and what is kept or weighed sums to the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.planning.strips import halo, smallest_strip, strips
from runtime.planning.windows import axis, count_windows, grid, window_sizes


@given(st.integers(1, 60), st.integers(1, 30), st.integers(0, 29), st.sampled_from([1, 8]))
def test_windows_cover_an_axis_and_their_weights_sum_to_1(size, length, overlap, multiple):
    size, length = size * multiple, length * multiple
    overlap = min(overlap * multiple, length - multiple)
    windows = axis(size, length, overlap, multiple)
    total = np.zeros(size)
    assert windows.starts[0] == 0
    assert windows.starts[-1] + windows.length == size
    for start, weight in zip(windows.starts, windows.weights, strict=True):
        assert start % multiple == 0
        assert (weight > 0).all()
        total[start : start + windows.length] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    for before, after in zip(windows.starts, windows.starts[1:], strict=False):
        assert after - before <= length - overlap


def test_weights_of_a_grid_sum_to_1_and_fall_smoothly_to_the_windows_borders():
    rows, columns = axis(64, 40, 16, 8), axis(96, 40, 16, 8)
    total = np.zeros((64, 96))
    for window in grid(rows, columns):
        total[window.top : window.top + 40, window.left : window.left + 40] += window.weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    middle = columns.weights[1]
    assert max(middle[0], middle[-1]) < 0.01
    assert np.abs(np.diff(middle)).max() < 0.15


@given(st.integers(1, 200), st.integers(0, 100), st.integers(1, 3))
def test_strips_of_one_height_keep_every_row_once(size, more, levels):
    multiple, size = 32, 32 * size
    height = smallest_strip(levels, multiple) + multiple * more
    kept = []
    for strip in strips(size, height, halo(levels)):
        assert 0 <= strip.top <= strip.first < strip.end <= strip.bottom <= size
        assert strip.bottom - strip.top == min(height, size)
        assert strip.top % 2**levels == 0
        assert strip.top == 0 or strip.first - strip.top >= halo(levels)
        assert strip.bottom == size or strip.bottom - strip.end >= halo(levels)
        kept += range(strip.first, strip.end)
    assert kept == list(range(size))


@pytest.mark.parametrize("multiple", [2, 8, 32, 100, 128, 256, 512, 1024])
def test_windows_of_every_padding_come_to_an_end(multiple, time_limit):
    """Also where the least window is as long as two windows share."""
    with time_limit(20):
        for rows, columns in ((1, 1), (2, 40), (9, 7), (60, 64)):
            rows, columns = rows * multiple, columns * multiple
            found = list(window_sizes(rows, columns, multiple))
            assert len(found) < 3000
            for height, width, overlap in found:
                assert height % multiple == width % multiple == 0
                assert count_windows(rows, height, overlap) * count_windows(columns, width, overlap) >= 1
                for size, length in ((rows, height), (columns, width)):
                    assert axis(size, length, overlap, multiple).starts[-1] + length == size
