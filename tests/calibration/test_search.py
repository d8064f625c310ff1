"""How many layers go back to float: the worst first, no more than needed."""

from __future__ import annotations

import pytest

from calibration.search import back_to_float
from runtime.errors import InputError

COSTS = {("denoiser", "a"): 1e-4, ("denoiser", "b"): 1e-3, ("hfrm0", "c"): 1e-6, ("hfrm0", "d"): 1e-2}


def search(budget_db: float, factor: float = 1.0) -> tuple[list, list]:
    tried = []

    def measured(float_layers) -> float:
        tried.append(len(float_layers))
        return factor * sum(cost for key, cost in COSTS.items() if key not in float_layers)

    return back_to_float(COSTS, budget_db, measured), tried


def test_nothing_goes_back_where_all_is_well():
    assert search(11.5) == ([], [0])


def test_the_worst_goes_first():
    assert search(24.5) == ([("hfrm0", "d")], [0, 1])
    assert search(34.5)[0] == [("hfrm0", "d"), ("denoiser", "b")]


def test_the_estimate_follows_what_was_measured():
    assert search(24.5, factor=10)[0] == [("hfrm0", "d"), ("denoiser", "b")]


def test_four_decibels_are_kept_for_other_photos():
    assert len(search(15.5)[0]) == 0
    assert len(search(15.6)[0]) == 1


def test_a_budget_without_any_int8_layer_is_refused():
    with pytest.raises(InputError, match="--budget-db 90"):
        search(90)


def test_photos_that_costs_say_nothing_about_still_end():
    """Where the measured error does not fall as the costs say, more layers go until it does."""

    def measured(float_layers) -> float:
        return 1e-9 if ("denoiser", "a") in float_layers else 1e-1

    assert ("denoiser", "a") in back_to_float(COSTS, 40, measured)
