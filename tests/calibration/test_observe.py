"""Histograms of a fixed size, whatever comes in, in whatever order; and the limits that are read from them."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.names import METHODS
from calibration.observe import BINS, Observed
from calibration.thresholds import threshold


def observed(*arrays: np.ndarray, steps: int = 1) -> Observed:
    made = Observed(["t"], steps)
    for index, array in enumerate(arrays):
        assert made.add("t", index % steps, array.astype(np.float32))
    return made


def test_extremes_are_kept_for_every_step():
    made = observed(np.array([-1.0, 2.0]), np.array([0.5, 9.0]), np.array([-4.0, 0.0]), steps=2)
    assert made.lows.tolist() == [[-4.0, 0.5]]
    assert made.highs.tolist() == [[2.0, 9.0]]
    assert made.extremes("t") == (-4.0, 9.0)


def test_the_order_does_not_matter_and_the_size_stays():
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(5000) * scale for scale in (1e-3, 1.0, 300.0, 0.02)]
    one, other = observed(*arrays), observed(*reversed(arrays))
    for name, array in one.state().items():
        np.testing.assert_array_equal(array, other.state()[name])
    assert one.counts.shape == (1, BINS)
    assert one.counts.sum() == sum(array.size for array in arrays)
    counts, width = one.histogram("t")
    largest = max(np.abs(array).max() for array in arrays)
    assert (np.flatnonzero(counts)[-1]) * width <= largest < BINS * width
    assert largest > BINS * width / 2  # no coarser than needed


def test_large_tensors_are_sampled_evenly():
    values = np.zeros((64, 128, 128), np.float32)
    values[:, :, ::2] = 1  # every second column
    made = Observed(["t"], 1)
    made.add("t", 0, values)
    counts, _ = made.histogram("t")
    assert counts.sum() <= 1 << 17
    assert abs(counts[0] / counts.sum() - 0.5) < 0.01


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_told_and_not_counted(bad):
    made = Observed(["t"], 1)
    assert not made.add("t", 0, np.array([1.0, bad], np.float32))
    assert made.counts.sum() == 0
    assert made.highs[0, 0] == -np.inf


def test_a_state_restores_everything():
    made, other = observed(np.arange(50.0)), Observed(["t"], 1)
    other.restore({name: array.copy() for name, array in made.state().items()})
    assert threshold("mse", other, "t") == threshold("mse", made, "t")
    assert other.tail("t") == made.tail("t") == 49


@pytest.mark.parametrize("method", METHODS)
def test_without_outliers_the_limit_is_near_the_largest_value(method):
    values = np.random.default_rng(1).uniform(-3, 3, 60_000)
    assert threshold(method, observed(values), "t") == pytest.approx(3, rel=0.08)


@pytest.mark.parametrize(("method", "low", "high"), [("percentile", 3, 5), ("entropy", 2, 6), ("mse", 20, 25)])
def test_one_outlier_is_clipped(method, low, high):
    values = np.random.default_rng(1).standard_normal(60_000)
    values[7] = 30
    made = observed(values)
    assert threshold("minmax", made, "t") == 30
    assert low < threshold(method, made, "t") < high


def test_percentile_holds_the_photo_with_the_largest_values():
    generator = np.random.default_rng(2)
    dark = [generator.standard_normal(60_000) for _ in range(20)]
    bright = 10 * generator.standard_normal(60_000)
    assert threshold("percentile", observed(*dark, bright), "t") > 35


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_is_always_zero_has_some_scale(method):
    assert threshold(method, observed(np.zeros(100)), "t") > 0
