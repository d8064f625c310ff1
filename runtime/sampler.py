"""The noise schedule as a table of per-step coefficients: a sampler is data, the denoiser graph applies it.

Every step of the loop is the same linear update, evaluated inside the denoiser graph::

    x_next       = c0 * x_t + c1 * eps + c2 * history
    history_next = c3 * x_t + c4 * eps

A one-step sampler leaves c2, c3 and c4 at zero; a multistep sampler keeps what it wants of the step before in
``history``. So a new sampler is a new table and never a new graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

COEFFICIENTS = 5


@dataclass(frozen=True)
class StepTable:
    """One row a step, in the order in which the steps run.

    timesteps: (S,) int32, falling to 0. coefficients: (S, 5) float32, c0 to c4 above.
    """

    timesteps: NDArray[np.int32]
    coefficients: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.timesteps)


def timesteps(num_train_timesteps: int, num_inference_steps: int) -> NDArray[np.int32]:
    """(S,) int32: T - T/S, ..., T/S, 0 (180, 160, ..., 0 for 10 of 200).

    Raises InputError when S does not divide T: the official ``range(0, T, T // S)`` would then silently run
    another number of steps (6 of 200 gives 7).
    """
    steps, total = num_inference_steps, num_train_timesteps
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)):
        raise InputError(f"steps is {steps!r}; it must be a whole number that divides {total}.")
    if steps < 1 or total % steps:
        allowed = ", ".join(str(n) for n in range(1, total + 1) if total % n == 0)
        raise InputError(f"steps is {steps}, which does not divide {total}; use one of {allowed}.")
    return np.arange(0, total, total // int(steps), dtype=np.int32)[::-1].copy()


def ddim(alphas_cumprod: NDArray[np.floating], num_inference_steps: int) -> StepTable:
    """DDIM with eta = 0 (Song et al. 2021, equation 12; official ``models/ddm.py: sample_training``).

    alphas_cumprod: (T,), falling, in (0, 1). Before t = 0 alpha-bar is 1, so the last step returns x_0. Computed
    in float64: x_next = sqrt(a_next / a_t) x_t + (sqrt(1 - a_next) - sqrt(a_next (1 - a_t) / a_t)) eps.
    """
    steps = timesteps(len(alphas_cumprod), num_inference_steps)
    alpha = np.asarray(alphas_cumprod, np.float64)[steps]
    alpha_next = np.append(alpha[1:], 1.0)
    table = np.zeros((len(steps), COEFFICIENTS))
    table[:, 0] = np.sqrt(alpha_next / alpha)
    table[:, 1] = np.sqrt(1 - alpha_next) - np.sqrt(alpha_next * (1 - alpha) / alpha)
    return StepTable(steps, table.astype(np.float32))
