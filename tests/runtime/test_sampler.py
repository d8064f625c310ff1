from __future__ import annotations

import numpy as np
import pytest

from runtime.errors import InputError
from runtime.sampler import ddim, timesteps

ALPHAS = np.cumprod(1 - np.linspace(1e-4, 0.02, 200))


def test_timesteps_of_the_paper():
    assert timesteps(200, 10).tolist() == [180, 160, 140, 120, 100, 80, 60, 40, 20, 0]
    assert timesteps(200, 1).tolist() == [0]
    assert timesteps(200, 200).tolist() == list(range(199, -1, -1))


@pytest.mark.parametrize("steps", [0, -5, 3, 6, 7, 201, 400])
def test_steps_that_do_not_divide_are_refused(steps):
    with pytest.raises(InputError, match=r"does not divide 200; use one of 1, 2, 4, 5, 8, 10, 20"):
        timesteps(200, steps)


@pytest.mark.parametrize("steps", [True, 2.0, "10", None])
def test_steps_that_are_no_whole_number_are_refused(steps):
    with pytest.raises(InputError, match="whole number"):
        timesteps(200, steps)


@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_ddim_inverts_the_forward_process(steps):
    """With the true eps at every step the loop ends at x_0 exactly: x_t = sqrt(a) x_0 + sqrt(1 - a) eps."""
    x_0, eps = np.float64(0.7), np.float64(-1.3)
    table = ddim(ALPHAS, steps)
    first = ALPHAS[table.timesteps[0]]
    x = np.sqrt(first) * x_0 + np.sqrt(1 - first) * eps
    for row in table.coefficients.astype(np.float64):
        x = row[0] * x + row[1] * eps
    assert x == pytest.approx(x_0, abs=1e-5)
    assert not table.coefficients[:, 2:].any()
    assert table.coefficients.dtype == np.float32
    assert table.timesteps.dtype == np.int32
