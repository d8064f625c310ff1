from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime.errors import InputError
from runtime.package.sampling import Sampling, timesteps
from runtime.sampler import check_steps, evenly_spaced, make_table

ALPHAS = np.cumprod(1 - np.linspace(1e-4, 0.02, 200))
SAMPLERS = pytest.mark.parametrize("sampler", ["ddim", "dpmpp-2m"])


def table_of(steps, sampler="ddim"):
    return make_table(ALPHAS, evenly_spaced(ALPHAS, steps, sampler))


def run(table, predict, x):
    """The loop of the denoiser graph, in float64, on one number or array."""
    history = np.full_like(x, 1e6)  # must not matter
    for t, (c0, c1, c2, c3, c4) in zip(table.timesteps, table.coefficients.astype(np.float64), strict=True):
        eps = predict(x, int(t))
        x, history = c0 * x + c1 * eps + c2 * history, c3 * x + c4 * eps
    return x


def test_timesteps_of_the_paper():
    assert timesteps(200, 10) == (180, 160, 140, 120, 100, 80, 60, 40, 20, 0)
    assert timesteps(200, 1) == (0,)
    assert timesteps(200, 200) == tuple(range(199, -1, -1))
    assert timesteps(200, 3) == (133, 66, 0)


@pytest.mark.parametrize("steps", [0, -5, 3, 6, 7, 201, 400])
def test_ddim_refuses_steps_that_do_not_divide(steps):
    with pytest.raises(InputError, match=r"does not divide 200; with ddim use one of 1, 2, 4, 5, 8, 10, 20"):
        check_steps(200, steps, "ddim")


@pytest.mark.parametrize("steps", [0, -1, 201])
def test_dpmpp_takes_any_number_up_to_200(steps):
    assert [check_steps(200, n, "dpmpp-2m") for n in (1, 3, 7, 200)] == [1, 3, 7, 200]
    with pytest.raises(InputError, match="1 to 200"):
        check_steps(200, steps, "dpmpp-2m")


@pytest.mark.parametrize("steps", [True, 2.0, "10", None])
def test_steps_that_are_no_whole_number_are_refused(steps):
    with pytest.raises(InputError, match="whole number"):
        check_steps(200, steps, "ddim")


def test_an_unknown_sampler_is_refused():
    with pytest.raises(InputError, match="'euler' is not known; use one of ddim, dpmpp-2m"):
        table_of(10, "euler")


@SAMPLERS
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 50])
def test_samplers_invert_the_forward_process(sampler, steps):
    """With the true eps at every step the loop ends at x_0 exactly: x_t = sqrt(a) x_0 + sqrt(1 - a) eps."""
    x_0, eps = np.float64(0.7), np.float64(-1.3)
    table = table_of(steps, sampler)
    first = ALPHAS[table.timesteps[0]]
    x = np.sqrt(first) * x_0 + np.sqrt(1 - first) * eps
    if len(table) > 1 or sampler == "ddim":
        table.coefficients[0, 2] = 0
    assert run(table, lambda x, t: eps, x) == pytest.approx(x_0, abs=1e-4)
    assert table.coefficients.dtype == np.float32
    assert table.timesteps.dtype == np.int32


def test_ddim_has_no_history():
    assert not table_of(10).coefficients[:, 2:].any()


def test_first_order_steps_of_dpmpp_are_ddims():
    """What DPM-Solver++ does at first order is DDIM: the same coefficients in the first step, in the last, and in the
    last but one, whose step in log-SNR is far larger than the one before."""
    first, second = (table_of(10, sampler).coefficients for sampler in ("ddim", "dpmpp-2m"))
    for row in (0, 8, 9):
        np.testing.assert_allclose(second[row, :3], first[row, :3], rtol=1e-5, atol=1e-6)
    assert (np.abs(second[1:8, 2]) > 1e-3).all()


def test_dpmpp_is_of_second_order():
    """Data of variance v: the best eps is linear in x_t, and the exact flow is x_t ~ sqrt(a v + 1 - a). From t = 195
    or so down to t = 100, at twice the steps DDIM's error halves and DPM-Solver++'s falls to a quarter."""
    variance = 0.25

    def scale(t):
        return np.sqrt(ALPHAS[t] * variance + 1 - ALPHAS[t])

    def error(sampler, steps):
        table = table_of(steps, sampler)
        until = table.timesteps.tolist().index(100)
        table = replace(table, timesteps=table.timesteps[:until], coefficients=table.coefficients[:until])
        x = run(table, lambda x, t: np.sqrt(1 - ALPHAS[t]) / scale(t) ** 2 * x, np.float64(1.0))
        return abs(x - scale(100) / scale(table.timesteps[0]))

    assert error("ddim", 20) / error("ddim", 40) == pytest.approx(2, rel=0.25)
    assert error("dpmpp-2m", 20) / error("dpmpp-2m", 40) == pytest.approx(4, rel=0.4)
    assert error("dpmpp-2m", 20) < 0.3 * error("ddim", 20)


def test_a_sampling_steps_over_any_falling_timesteps_to_x_0():
    """With the true eps of a single picture DDIM is exact from wherever it starts."""
    x_0, eps = np.array([0.3, -0.8]), np.array([0.5, 1.2])

    def predict(x, t):
        return (x - np.sqrt(ALPHAS[t]) * x_0) / np.sqrt(1 - ALPHAS[t])

    for steps in ((80, 40), (60,), (199, 3, 1)):
        table = make_table(ALPHAS, Sampling("one", steps, "zero"))
        assert table.timesteps.tolist() == list(steps)
        start = np.sqrt(ALPHAS[steps[0]]) * x_0 + np.sqrt(1 - ALPHAS[steps[0]]) * eps
        np.testing.assert_allclose(run(table, predict, start), x_0, atol=1e-6)


def test_a_sampling_may_bring_its_own_coefficients():
    rows = ((1.5, -0.5, 0.0, 0.0, 0.0), (0.25, 0.5, 0.125, 1.0, 2.0))
    table = make_table(ALPHAS, Sampling("own", (80, 40), "zero", rows))
    assert table.coefficients.tolist() == [list(row) for row in rows]


def test_what_a_sampling_was_judged_on_does_not_make_it_another():
    one, other = (Sampling("fast", (80, 40), "zero", judged={"photos": n}) for n in (1, 2))
    assert one == other
    assert hash(one) == hash(other)
