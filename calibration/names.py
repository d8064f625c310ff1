"""What the command lets choose, and its defaults. Imports nothing, so that `--help` is quick."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
DEFAULT_METHOD: Method = "percentile"
DEFAULT_SAMPLES = 16
DEFAULT_BUDGET_DB = 40.0

DEFAULT_CALLS = 2
DEFAULT_LOSS_DB = 0.15
DEFAULT_LOSS_SSIM = 0.01
