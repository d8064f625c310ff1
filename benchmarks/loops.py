"""Which loops are run: samplings of a package by name, and evenly spaced steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.errors import InputError
from runtime.names import PUBLISHED
from runtime.package.manifest import Manifest
from runtime.package.reading import Package
from runtime.package.sampling import Sampling
from runtime.running.arguments import choose_sampling

from .job import Loop


@dataclass(frozen=True)
class Loops:
    """What the command asks of every package."""

    steps: Sequence[int] = ()
    """Evenly spaced, of ``sampler``."""
    samplings: Sequence[str] = ()
    """By name. Where neither these nor steps are given, the package's own number of steps runs."""
    sampler: str = "ddim"
    instead: int | None = None
    """Evenly spaced steps in place of a sampling that a package does not have; None: that is an error."""

    def of(self, package: Package) -> list[Loop]:
        """The loops of this package, in the order of the command. The package's own number of steps with ddim is its
        sampling ``published``. Raises InputError."""
        manifest = package.manifest
        if self.samplings and not self.steps and self.sampler != "ddim":
            raise InputError(f"--sampler {self.sampler} is for --steps, and a sampling was asked for; leave one out.")
        found = [self._named(package, name) for name in self.samplings]
        for count in self.steps or (() if self.samplings else (manifest.num_inference_steps,)):
            found.append(_even(manifest, count, self.sampler))
        return found

    def _named(self, package: Package, name: str) -> Loop:
        if self.instead is not None and name not in package.manifest.samplings:
            return _even(package.manifest, self.instead, self.sampler)
        try:
            return Loop(choose_sampling(package.manifest, name, None, None).calls, "ddim", name)
        except InputError as error:
            raise InputError(f"{package.path}: {error}") from error


def check_once(package: Package, loops: Sequence[Loop]) -> None:
    """Raise InputError where two of ``loops`` are one: ``published`` beside its number of steps."""
    for loop in loops:
        if loops.count(loop) > 1:
            raise InputError(
                f"{package.path}: {loop.words!r} and {loop.calls} steps are the same loop; give one of them."
            )


def sampling_of(manifest: Manifest, loop: Loop) -> Sampling:
    """Its timesteps and its start. Raises InputError."""
    if loop.sampling:
        return choose_sampling(manifest, loop.sampling, None, None)
    return choose_sampling(manifest, None, loop.calls, loop.sampler)


def call_arguments(manifest: Manifest, loop: Loop, seed: int) -> dict[str, Any]:
    """What an enhancer's call takes to run ``loop``, with the noise of ``seed`` where it starts from noise."""
    words: dict[str, Any] = {"steps": loop.calls, "sampler": loop.sampler}
    if loop.sampling:
        words = {"sampling": loop.sampling}
    return words if sampling_of(manifest, loop).start == "zero" else words | {"seed": seed}


def _even(manifest: Manifest, count: int, sampler: str) -> Loop:
    calls = choose_sampling(manifest, None, count, sampler).calls
    own = sampler == "ddim" and calls == manifest.num_inference_steps
    return Loop(calls, sampler, PUBLISHED if own else "")
