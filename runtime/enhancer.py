"""Enhancer: photo in, photo out. The public class: it checks arguments and hands on to ``running.runner``."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from itertools import chain
from threading import local
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .backends.base import Backend
from .errors import EngineError, InputError
from .names import KINDS, Kind
from .package.manifest import Manifest
from .package.reading import Package
from .package.sampling import Sampling
from .planning.memory import parse_budget
from .planning.request import Plan, Request
from .running.arguments import (
    Back,
    as_batch,
    check_frames,
    check_no_noise,
    check_plan,
    checked_frames,
    choose_sampling,
    is_single,
    make_noise,
)
from .running.auto import open_backend
from .running.laps import Outcome
from .running.runner import Runner
from .running.stream import Stream

if TYPE_CHECKING:
    from PIL.Image import Image
    from typing_extensions import Unpack

    from .running.options import FrameOptions, Options, Sample

_GREY_LEVELS = {"fp32": 1, "fp16": 4, "bf16": 16, "int8": 64}  # what the self-test allows


class Enhancer:
    """A model package opened with one backend. Make one with :meth:`open`, call it with photos, close it.

    Calls from several threads are safe and run one after the other (the buffers are shared). For work in parallel
    open one enhancer a thread. ``timings``, ``step_timings`` and ``why`` tell how this thread's last photo was run;
    ``package``, ``manifest`` and ``backend`` what runs it (``backend.name``, and what ``auto`` found: ``backend.why``).
    """

    def __init__(self, package: Package, backend: Backend[Any], max_memory: int | str | None = None) -> None:
        self._package, self._backend = package, backend
        self.runner = Runner(package, backend, max_memory)
        self._last = local()  # a thread sees its own calls

    @classmethod
    def open(
        cls,
        package: str | os.PathLike[str],
        *,
        backend: str = "onnxruntime",
        providers: str | Sequence[str] | None = None,
        max_memory: int | str | None = None,
    ) -> Enhancer:
        """Open the package directory ``package``; nothing is built or downloaded.

        backend: ``onnxruntime``, ``openvino``, ``ncnn``, ``tensorrt`` or ``tensorrt-rtx`` (the last three run engines
        built by ``python -m export.engine``), or ``auto``, the fastest that is here. providers: onnxruntime's
        execution provider or OpenVINO's device, or several, most wanted first (default: the CPU). max_memory: bytes,
        or a string such as "2GiB": peak memory of the whole process stays under it, with strips and tiles where a
        photo needs them (default: what the machine has free now, less a margin, and no tiles, which change the
        picture).
        Raises PackageError, BackendUnavailableError, EngineError or InputError.
        """
        if max_memory is not None:
            parse_budget(max_memory)
        opened = Package.open(package)
        low_memory = max_memory is not None
        return cls(opened, open_backend(backend, opened, providers, low_memory=low_memory), max_memory)

    def __repr__(self) -> str:
        return f"<Enhancer of {self.package.path} on {self.backend.name}{', closed' if self.runner.closed else ''}>"

    @property
    def package(self) -> Package:
        """The package that was opened: its ``path`` and its files."""
        return self._package

    @property
    def manifest(self) -> Manifest:
        """What the package says of itself: ``precision``, ``samplings``, ``provenance`` and more."""
        return self.package.manifest

    @property
    def backend(self) -> Backend[Any]:
        """What runs the graphs: its ``name``, and in ``why`` what ``auto`` found when it chose it."""
        return self._backend

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds of this thread's last call, or frame, by part: pad, upload, dwt, hfrm0.., denoiser (all steps),
        idwt, download, crop. A backend that runs all stages as one graph has one key ``graph`` in place of theirs,
        measured by the device."""
        outcome = self._outcome
        return outcome.laps.ms if outcome else {}

    @property
    def step_timings(self) -> list[float]:
        """Milliseconds of every denoiser step of that call, in order; empty where there is ``graph``."""
        outcome = self._outcome
        return outcome.laps.steps if outcome else []

    @property
    def why(self) -> str:
        """Why this thread's last photo was not run whole, as planned; empty if it was."""
        outcome = self._outcome
        return outcome.note if outcome else ""

    @property
    def _outcome(self) -> Outcome | None:
        return getattr(self._last, "outcome", None)

    def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape of ``noise`` for a photo of this size: (3, Hp/4, Wp/4) with two wavelet levels."""
        return self.manifest.noise_shape(height, width)

    def plan(
        self,
        width: int,
        height: int,
        *,
        steps: int | None = None,
        sampling: str | None = None,
        batch: int = 1,
        dtype: DTypeLike = np.uint8,
        kind: Kind | None = None,
        reserve_bytes: int = 0,
    ) -> Plan:
        """How a photo of ``width`` x ``height`` pixels is run within the memory budget, and what it costs.

        sampling, steps: as for a call. batch: photos of one call. dtype: of the photo, uint8 or uint16. kind:
        ``whole``, ``strips`` or ``tiles`` and nothing else; give the plan to a call. reserve_bytes: that stay free
        beside it.
        Raises InputError where nothing fits, with the smallest budget that does, and OutOfMemoryError where only tiles
        would, which change the picture and need ``max_memory`` or ``kind``.
        """
        for name, value in (("width", width), ("height", height), ("batch", batch)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InputError(f"{name} is {value!r}; a whole number from 1 up wanted.")
        if kind is not None and kind not in KINDS:
            raise InputError(f"the plan {kind!r} is not known; use one of {', '.join(KINDS)}.")
        # the sampler that takes every number of steps that some sampler takes
        sampler = None if steps is None else "dpmpp-2m"
        count = choose_sampling(self.manifest, sampling, steps, sampler).calls
        depth = np.dtype(dtype).itemsize
        return self.runner.plan(Request(int(height), int(width), count, int(batch), depth, kind, reserve_bytes))

    @overload
    def __call__(self, photo: NDArray[Sample], **options: Unpack[Options]) -> NDArray[Sample]: ...
    @overload
    def __call__(self, photo: Sequence[NDArray[Sample]], **options: Unpack[Options]) -> list[NDArray[Sample]]: ...
    @overload
    def __call__(self, photo: Image, **options: Unpack[Options]) -> Image: ...
    @overload
    def __call__(self, photo: Sequence[Image], **options: Unpack[Options]) -> list[Image]: ...
    def __call__(
        self,
        photo: NDArray[Any] | Image | Sequence[NDArray[Any]] | Sequence[Image],
        *,
        sampling: str | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        seed: int | None = None,
        noise: NDArray[np.float32] | None = None,
        plan: Plan | None = None,
    ) -> Any:
        """Brighten a photo, or a batch of photos of one size.

        photo: (H, W, 3) uint8 or uint16, RGB, H and W at least 1; or (B, H, W, 3); or a list of (H, W, 3). Or a Pillow
        image, or a list of them: their pixels are taken upright, and colours and alpha as ``photo.from_image`` says.
        sampling: one of the package's (``manifest.samplings``): ``published``, the default, 10 calls of the denoiser
        from noise, or ``fast``, few from zero, where the package has it.
        steps, sampler: other loops in place of a sampling, evenly spaced from noise. ``ddim``, the published sampler,
        takes a divisor of 200 as steps, ``dpmpp-2m`` (DPM-Solver++, second order) 1 to 200.
        seed: of the noise x_T, default 0, where the sampling starts from noise; every photo of a batch gets the same
        field, so that it comes out as it would alone. noise: x_T itself, float32 of :meth:`noise_shape`, or (B, *that)
        for a batch.
        plan: one of :meth:`plan` for photos of this size (default: the one that it gives).
        Returns the same shape and dtype (a list for a list, images for images). Raises InputError or EngineError.
        """
        photos, back = as_batch(photo)
        batch, height, width, _ = photos.shape
        chosen = choose_sampling(self.manifest, sampling, steps, sampler)
        x_t = self._noise(chosen, noise, seed, batch, height, width, alone=is_single(photo))
        request = Request(height, width, chosen.calls, batch, photos.itemsize)
        if plan is not None:
            check_plan(plan, request, self.backend)
        self._last.outcome = outcome = self.runner.run(photos, x_t, request, chosen, plan=plan)
        return back(outcome.pixels)

    @overload
    def stream(
        self, frames: Iterable[NDArray[Sample]], **options: Unpack[FrameOptions]
    ) -> Generator[NDArray[Sample], None, None]: ...
    @overload
    def stream(self, frames: Iterable[Image], **options: Unpack[FrameOptions]) -> Generator[Image, None, None]: ...
    def stream(
        self,
        frames: Iterable[NDArray[Any]] | Iterable[Image],
        *,
        sampling: str | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        seed: int | None = None,
        noise: NDArray[np.float32] | None = None,
    ) -> Generator[Any, None, None]:
        """Brighten frames of one size: yields one result a frame, in order, equal to that of a single call.

        frames: (H, W, 3) uint8 or uint16, RGB, or a Pillow image, each; taken one by one and in this thread, at most
        one further than the result that is waited for, and free to change when the next is taken. The other arguments
        are those of a call; all frames get the same noise. The host prepares a frame and makes the result of another
        while the engine works on the one between: results come faster than from single calls, and one frame later. At
        most two frames are in memory at once, with buffers of their own. Close the iterator (or let it go) to end the
        work early.
        Raises InputError or EngineError at the frame that is wrong, after the results before it.
        """
        chosen = choose_sampling(self.manifest, sampling, steps, sampler)
        check_frames(frames)

        def results() -> Generator[Any, None, None]:
            backs: deque[Back] = deque()
            source = checked_frames(frames, backs)
            for first in source:
                height, width, _ = first.shape
                try:
                    x_t = self._noise(chosen, noise, seed, 1, height, width, alone=True)
                except InputError as error:
                    raise InputError(f"frame 0: {error}") from error
                request = Request(height, width, chosen.calls, depth=first.itemsize)
                stream = Stream(self.runner, request, x_t, chosen)
                with closing(stream.outcomes(chain((first,), source))) as outcomes:
                    for outcome in outcomes:
                        self._last.outcome = outcome
                        yield backs.popleft()(outcome.pixels[0])
                        self.runner.check_process()

        return results()

    def self_test(self) -> int:
        """Run the package's golden sample here; return the largest difference in grey levels.

        Raises EngineError when it is more than the precision allows (1 level in fp32).
        """
        golden = self.package.golden()
        result = self(golden["photo"], noise=golden["noise"], steps=int(golden["steps"]))
        worst = int(np.abs(result.astype(np.int32) - golden["expected"]).max())
        allowed = _GREY_LEVELS[self.manifest.precision]
        if worst > allowed:
            raise EngineError(
                f"self-test failed: backend {self.backend.name} differs from the golden sample by {worst} grey "
                f"levels; {allowed} allowed. Update the engine library or use another backend."
            )
        return worst

    def close(self) -> None:
        """Give the sessions and buffers back. The enhancer is of no use afterwards; closing twice is harmless."""
        self.runner.close()

    def __enter__(self) -> Enhancer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _noise(
        self, sampling: Sampling, noise: Any, seed: int | None, batch: int, height: int, width: int, *, alone: bool
    ) -> NDArray[np.float32] | None:
        if sampling.start == "zero":
            check_no_noise(sampling, noise, seed)
            return None
        return make_noise(noise, seed, batch, self.noise_shape(height, width), f"{width}x{height}", alone=alone)
