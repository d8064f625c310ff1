"""Samplings, and the noise schedule as a table of per-step coefficients: the denoiser graph applies it.

Every step of the loop is the same linear update, evaluated inside the denoiser graph::

    x_next       = c0 * x_t + c1 * eps + c2 * history
    history_next = c3 * x_t + c4 * eps

A sampling says at which timesteps the denoiser is called and what x_T is; a sampler, which coefficients belong to
evenly spaced ones. A one-step sampler leaves c2, c3 and c4 at zero; a multistep sampler keeps what it wants of the step
before in ``history``. So a new sampling is a new table and never a new graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .names import SAMPLERS
from .package.sampling import Sampling, timesteps


@dataclass(frozen=True)
class StepTable:
    """One row a step, in the order in which the steps run."""

    timesteps: NDArray[np.int32]
    """(S,), falling."""
    coefficients: NDArray[np.float32]
    """(S, 5), c0 to c4 above."""

    def __len__(self) -> int:
        return len(self.timesteps)


def check_steps(total: int, steps: object, sampler: str) -> int:
    """``steps``, if ``sampler`` can run so many of ``total`` (num_train_timesteps, 200). Raises InputError.

    ddim: a divisor of T, as the official ``range(0, T, T // S)`` would silently run another number otherwise (6 of 200
    gives 7). dpmpp-2m: 1 to T.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"sampler {sampler!r} is not known; use one of {', '.join(SAMPLERS)}.")
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)):
        raise InputError(f"steps is {steps!r}; it must be a whole number from 1 to {total}.")
    if sampler == "ddim" and (steps < 1 or total % steps):
        allowed = ", ".join(str(n) for n in range(1, total + 1) if total % n == 0)
        raise InputError(f"steps is {steps}, which does not divide {total}; with ddim use one of {allowed}.")
    if not 1 <= steps <= total:
        raise InputError(f"steps is {steps}; with {sampler} use 1 to {total}.")
    return int(steps)


def evenly_spaced(alphas_cumprod: NDArray[np.floating], num_inference_steps: int, sampler: str = "ddim") -> Sampling:
    """The sampling of ``sampler`` from noise, at :func:`timesteps`. alphas_cumprod: as for :func:`make_table`. Raises
    InputError (see check_steps)."""
    total = len(alphas_cumprod)
    steps, rows = timesteps(total, check_steps(total, num_inference_steps, sampler)), None
    if sampler != "ddim":
        rows = tuple(map(tuple, _dpmpp_2m(_alpha_bars(alphas_cumprod, steps)).tolist()))
    return Sampling(f"{sampler} {num_inference_steps}", steps, "normal", rows)


def make_table(alphas_cumprod: NDArray[np.floating], sampling: Sampling) -> StepTable:
    """The table of ``sampling``. alphas_cumprod: (T,), falling, in (0, 1); computed in float64.

    After the last timestep alpha-bar is 1: DDIM's last step returns the x_0 that it predicts.
    """
    rows = sampling.coefficients
    table = _ddim(_alpha_bars(alphas_cumprod, sampling.timesteps)) if rows is None else np.array(rows, np.float64)
    return StepTable(np.array(sampling.timesteps, np.int32), table.astype(np.float32))


def _alpha_bars(alphas_cumprod: NDArray[np.floating], steps: Sequence[int]) -> NDArray[np.float64]:
    return np.append(np.asarray(alphas_cumprod, np.float64)[list(steps)], 1.0)


def _ddim(alpha_bar: NDArray[np.float64]) -> NDArray[np.float64]:
    """DDIM with eta = 0 (Song et al. 2021, equation 12; official ``models/ddm.py: sample_training``):
    x_next = sqrt(a_next / a) x_t + (sqrt(1 - a_next) - sqrt(a_next (1 - a) / a)) eps."""
    now, then = alpha_bar[:-1], alpha_bar[1:]
    x_t = np.sqrt(then / now)
    eps = np.sqrt(1 - then) - np.sqrt(then * (1 - now) / now)
    return np.stack((x_t, eps, *np.zeros((3, len(now)))), axis=1)


def _dpmpp_2m(alpha_bar: NDArray[np.float64]) -> NDArray[np.float64]:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2); ``history`` is the x_0 that the step before predicted.

    With x_0 = (x_t - sigma eps) / alpha: x_next = sigma'/sigma x_t + alpha' (1 - e^-h) ((1 + k) x_0 - k history),
    k = h / (2 h_before). First order (k = 0, which is DDIM) in the first step, which has no history, in the last,
    where h is infinite, and wherever h is more than twice the step before: the jump in log-SNR from the last but one
    timestep to t = 0 is such a one, and extrapolating over it costs most of the picture (``docs/sampling.md``).
    """
    alpha, sigma = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    table = np.zeros((len(alpha_bar) - 1, 5))
    log_snr = np.append(np.log(alpha[:-1] / sigma[:-1]), np.inf)
    for i in range(len(table)):
        factor = alpha[i + 1] * (1 - np.exp(log_snr[i] - log_snr[i + 1]))  # alpha' (1 - e^-h)
        k = 0.0 if i == 0 else (log_snr[i + 1] - log_snr[i]) / (2 * (log_snr[i] - log_snr[i - 1]))
        k = 0.0 if k > 1 else k
        table[i] = (
            sigma[i + 1] / sigma[i] + factor * (1 + k) / alpha[i],
            -factor * (1 + k) * sigma[i] / alpha[i],
            -factor * k,
            1 / alpha[i],
            -sigma[i] / alpha[i],
        )
    return table
