"""Layers go back to float, worst first, until photos that were not calibrated on come out well enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from runtime.errors import InputError
from runtime.image import decibels

Key = tuple[str, str]
# Photos of another kind than those given err more: with 0.5 dB in reserve LOLv1's came out at 39.4 dB where the unseen
# ones had 41.2, with 4 at 42.4.
_RESERVE_DB = 4.0
_REFINEMENTS = 2
_MARGIN = 0.8  # of the error that is allowed: the sum of single errors only estimates the error of all


def back_to_float(
    costs: Mapping[Key, float], budget_db: float, measured: Callable[[Sequence[Key]], float]
) -> list[Key]:
    """The layers that have to stay in float, worst first.

    costs: layer -> its error alone. measured: error of the worst photo with all layers in int8 but the given ones.
    How many go at once is estimated: the errors of layers add up, nearly. Raises InputError where no int8 layer is
    within the budget.
    """
    worst_first = sorted(costs, key=lambda key: (-costs[key], key))
    allowed = 10 ** (-(budget_db + _RESERVE_DB) / 10)
    count, too_few = 0, -1
    while True:
        error = measured(worst_first[:count])
        if error <= allowed:
            break
        too_few = count
        scale = error / max(sum(costs[key] for key in worst_first[count:]), 1e-30)
        count += 1
        while count < len(worst_first) and scale * sum(costs[key] for key in worst_first[count:]) > _MARGIN * allowed:
            count += 1
        if count == len(worst_first):
            raise InputError(
                f"PSNR {decibels(error):.1f} dB, and no layer can be int8 within --budget-db {budget_db:g}; ask for "
                "less, calibrate on more photos or use another --method."
            )
    for _ in range(_REFINEMENTS):  # the estimate may have gone too far
        middle = (too_few + count + 1) // 2
        if middle >= count:
            break
        if measured(worst_first[:middle]) <= allowed:
            count = middle
        else:
            too_few = middle
    return worst_first[:count]
