"""Percentiles, drift and paired ratios, by hand."""

from __future__ import annotations

import pytest

from benchmarks.stats import drift, latency, medians, paired_ratio, variation


def test_latency_counts_every_photo_of_every_round():
    found = latency([[1.0, 2.0], [3.0], [4.0, 5.0]])
    assert found == {"p50": 3.0, "p90": 4.6, "p99": 4.96, "mean": 3.0, "min": 1.0, "max": 5.0, "photos": 5}


def test_ratios_are_paired_round_by_round():
    """Everything is slow in the second round: the ratio does not care. The medians alone would say 1.0."""
    base, other = [[10.0], [40.0], [12.0]], [[5.0], [20.0], [6.0]]
    assert paired_ratio(base, other) == pytest.approx((2.0, 2.0, 2.0))
    middle, low, high = paired_ratio([[10.0], [10.0], [10.0]], [[10.0], [5.0], [2.0]])
    assert (middle, low, high) == pytest.approx((2.0, 1.2, 4.4))


def test_configurations_that_did_not_run_in_the_same_rounds_have_no_ratio():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        paired_ratio([[1.0], [2.0]], [[1.0]])


def test_drift_compares_the_first_third_with_the_last():
    assert drift([[100.0], [100.0], [5000.0], [7.0], [110.0], [110.0]]) == pytest.approx(0.1)
    assert drift([[10.0, 12.0], [10.0], [11.0, 11.0]]) == 0.0
    assert drift([[10.0]]) == 0.0


def test_variation_is_the_standard_deviation_by_the_mean():
    assert variation([[9.0], [11.0]]) == pytest.approx(0.1)
    assert variation([[7.0, 7.0], [7.0]]) == 0.0


def test_stages_keep_their_order():
    assert list(medians([{"pad": 1, "dwt": 5}, {"dwt": 7, "pad": 3}]).items()) == [("pad", 2), ("dwt", 6)]
