"""Enhancer: photo in, photo out."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from threading import Lock
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .backends.base import Backend
from .errors import EngineError, InputError, OutOfMemoryError
from .image import Pixels, to_pixels, to_tensor
from .machine.host import free_memory_bytes, resident_bytes
from .names import KINDS, Kind
from .package.golden import read_golden
from .package.manifest import Manifest
from .package.reading import Package
from .planning.decide import Plan, decide
from .planning.memory import parse_size
from .running.arguments import as_batch, check_photo, check_plan, is_single, make_noise
from .running.auto import open_backend
from .running.bounded import Bounded
from .running.program import Program, Steps
from .running.slots import open_slot
from .running.speed import speeds
from .running.stream import Slot, stream
from .sampler import check_steps, make_table

_SHAPES_KEPT = 2  # programs (buffers and bindings) kept for photo shapes that come again
_FREE = 0.85  # of the machine's free memory that is taken where no budget is given
_PROCESS = 200 << 20  # bytes, where the system does not tell
_log = logging.getLogger(__name__)
_GREY_LEVELS = {"fp32": 1, "fp16": 4, "bf16": 16, "int8": 64}  # what the self-test allows


class Enhancer:
    """A model package opened with one backend. Make one with :meth:`open`, call it with photos, close it.

    Calls from several threads are safe and run one after the other (the buffers are shared). For work in parallel
    open one enhancer a thread.
    """

    def __init__(self, package: Package, backend: Backend[Any], max_memory: int | str | None = None) -> None:
        self.package = package
        self.backend = backend
        self.why = ""
        """How the last photo was run where that was not as planned, or not whole; empty where it was."""
        self._process_bytes = resident_bytes() or _PROCESS
        self._promised = max_memory is not None
        self._budget: int | None
        if max_memory is None:
            # told once: the same photo is planned in the same way whatever else the machine does meanwhile
            free = free_memory_bytes()
            self._budget = None if free is None else self._process_bytes + int(_FREE * free)
        else:
            self._budget = parse_size(max_memory)
        self._bounded: tuple[Plan, Bounded] | None = None
        self.timings: dict[str, float] = {}
        """Milliseconds of the last call, by part: pad, upload, dwt, hfrm0.., denoiser (all steps), idwt, download,
        crop. A backend that runs all stages as one graph has one key ``graph`` in place of theirs, measured by the
        device."""
        self.step_timings: list[float] = []
        """Milliseconds of every denoiser step of the last call, in order; empty where there is ``graph``."""
        self._programs: OrderedDict[tuple[int, int, int], Program] = OrderedDict()
        self._steps: dict[tuple[str, int], Steps] = {}
        self._closed = False
        self._lock = Lock()  # the engine's: one call, or one frame's submit, at a time
        self._collecting = Lock()  # a stream takes a result while the engine runs: only closing has to wait for it

    @classmethod
    def open(
        cls,
        package: str | os.PathLike[str],
        *,
        backend: str = "onnxruntime",
        providers: Sequence[str] | None = None,
        max_memory: int | str | None = None,
    ) -> Enhancer:
        """Open the package directory ``package``; nothing is built or downloaded.

        backend: ``onnxruntime``, ``openvino``, ``ncnn``, ``tensorrt`` or ``tensorrt-rtx`` (the last three run engines
        built by ``python -m export.engine``), or ``auto``, the fastest that is here. providers: onnxruntime's
        execution providers or OpenVINO's devices, most wanted first (default: the CPU). max_memory: bytes, or a string
        such as "2GiB": peak memory of the whole process stays under it, with strips and tiles where a photo needs
        them (default: what the machine has free now, less a margin).
        Raises PackageError, BackendUnavailableError, EngineError or InputError.
        """
        if max_memory is not None:
            parse_size(max_memory)
        opened = Package.open(package)
        low_memory = max_memory is not None
        return cls(opened, open_backend(backend, opened, providers, low_memory=low_memory), max_memory)

    @property
    def manifest(self) -> Manifest:
        return self.package.manifest

    def noise_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape of ``noise`` for a photo of this size: (3, Hp/4, Wp/4) with two wavelet levels."""
        return self.manifest.noise_shape(height, width)

    def plan(
        self,
        width: int,
        height: int,
        *,
        steps: int | None = None,
        batch: int = 1,
        dtype: DTypeLike = np.uint8,
        beside: bool = False,
        kind: Kind | None = None,
        timed: bool = False,
    ) -> Plan:
        """How a photo of ``width`` x ``height`` pixels is run within the memory budget, and what it costs.

        steps: default the package's. batch: photos of one call. dtype: of the photo, uint8 or uint16. beside: photo and
        result go into one file, side by side. kind: ``whole``, ``strips`` or ``tiles`` and nothing else; give the plan
        to a call. timed: predict ``seconds`` too, from a short probe of this machine that is kept. Raises InputError
        where nothing fits, with the smallest budget that does, and where the engines here are of other sizes than the
        probe's.
        """
        for name, value in (("width", width), ("height", height), ("batch", batch)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InputError(f"{name} is {value!r}; a whole number from 1 up wanted.")
        if kind is not None and kind not in KINDS:
            raise InputError(f"the plan {kind!r} is not known; use one of {', '.join(KINDS)}.")
        count = self.manifest.num_inference_steps if steps is None else steps
        check_steps(self.manifest.num_train_timesteps, count, "dpmpp-2m")  # takes every number that some sampler takes
        plan = self._decide(int(height), int(width), count, int(batch), dtype, kind, beside=beside)
        if not timed:
            return plan
        with self._lock:
            self._check_open()
            speed = speeds(self.backend, self.package)
        return replace(plan, seconds=sum(plan.stage_seconds(speed).values()))

    def _decide(
        self,
        height: int,
        width: int,
        steps: int,
        batch: int,
        dtype: DTypeLike,
        kind: Kind | None,
        than: Plan | None = None,
        held_bytes: int = 0,
        beside: bool = False,
    ) -> Plan:
        return decide(
            self.manifest,
            self.backend.traits,
            height,
            width,
            base_bytes=self._process_bytes + held_bytes,
            budget=self._budget,
            steps=steps,
            batch=batch,
            depth=np.dtype(dtype).itemsize,
            beside=beside,
            kind=kind,
            than=than,
        )

    def __call__(
        self,
        photo: Pixels | Sequence[Pixels],
        *,
        steps: int | None = None,
        sampler: str = "ddim",
        seed: int | None = None,
        noise: NDArray[np.float32] | None = None,
        plan: Plan | None = None,
    ) -> Any:
        """Brighten a photo, or a batch of photos of one size.

        photo: (H, W, 3) uint8 or uint16, RGB, H and W at least 1; or (B, H, W, 3); or a list of (H, W, 3).
        steps: sampling steps (default: the package's, 10): a divisor of 200 with ddim, 1 to 200 with dpmpp-2m.
        sampler: ``ddim``, the published one, or ``dpmpp-2m`` (DPM-Solver++, second order).
        seed: of the noise x_T, default 0; every photo of a batch gets the same field, so that it comes out as it
        would alone. noise: x_T itself, float32 of :meth:`noise_shape`, or (B, *that) for a batch.
        plan: one of :meth:`plan` for photos of this size (default: the one that it gives).
        Returns the same shape and dtype (a list for a list). Raises InputError or EngineError.
        """
        photos = as_batch(photo)
        batch, height, width, _ = photos.shape
        x_t = self._noise(noise, seed, batch, height, width, alone=is_single(photo))
        count = self.manifest.num_inference_steps if steps is None else steps
        if plan is not None:
            check_plan(plan, photos, self.backend)
        with self._lock:
            pixels = self._run(photos, x_t, count, sampler, plan)
        if is_single(photo):
            return pixels[0]
        return pixels if isinstance(photo, np.ndarray) else list(pixels)

    def stream(
        self,
        frames: Iterable[Pixels],
        *,
        steps: int | None = None,
        sampler: str = "ddim",
        seed: int | None = None,
        noise: NDArray[np.float32] | None = None,
    ) -> Iterator[Any]:
        """Brighten frames of one size: yields one result a frame, in order, equal to that of a single call.

        frames: (H, W, 3) uint8 or uint16, RGB, each; taken one by one and in this thread, at most one further than
        the result that is waited for. The other arguments are those of a call; all frames get the same noise.
        The host prepares a frame and makes the result of another while the engine works on the one between: results
        come faster than from single calls, and one frame later. At most two frames are in memory at once, with
        buffers of their own, which go back when the iterator ends or is closed. Frames that do not fit into the
        memory budget whole are run one after the other as a call runs them.

        Other calls and streams may go on meanwhile, in any thread: they take turns frame by frame. ``timings`` are
        those of the frame yielded last; the waits between its parts are not in them.

        Raises InputError at once for steps and sampler; from the iterator InputError with the index of a frame that
        is of another size or no photo, EngineError, and what ``frames`` raises, each after the results before it.
        """
        count = self.manifest.num_inference_steps if steps is None else steps
        check_steps(self.manifest.num_train_timesteps, count, sampler)

        def check(frame: Any) -> Pixels:
            check_photo(frame, (3,))
            photo: Pixels = frame
            return photo

        def make_slot(photo: Pixels) -> Slot:
            x_t = self._noise(noise, seed, 1, *photo.shape[:2], alone=True)
            with self._lock:
                return open_slot(self, photo, x_t, count, sampler)

        return stream(frames, check, make_slot)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("this enhancer was closed; open the package again.")

    def _run(
        self,
        photos: Pixels,
        x_t: NDArray[np.float32],
        steps: int,
        sampler: str,
        given: Plan | None = None,
        held_bytes: int = 0,
    ) -> Pixels:
        """By the plan, and by smaller ones where memory runs out and no plan was given. held_bytes: of other photos
        and results that are in memory meanwhile."""
        self._check_open()
        table = self._table(steps, sampler)
        batch, height, width, _ = photos.shape
        plan = given or self._decide(height, width, steps, batch, photos.dtype, None, held_bytes=held_bytes)
        self.why, reason = "" if plan.kind == "whole" else str(plan), ""
        while True:
            try:
                return self._run_plan(plan, photos, x_t, table)
            except (OutOfMemoryError, MemoryError) as error:
                reason = " ".join(str(error).split()) or "not enough memory"
            except InputError as error:
                if not reason:
                    raise
                # a smaller plan that the engines here cannot run
                raise OutOfMemoryError(f"out of memory ({reason}), and {plan} cannot be run: {error}") from error
            self._drop_buffers()
            smaller = None if given else self._smaller(plan, steps, batch, photos.dtype, held_bytes)
            if smaller is None:
                raise OutOfMemoryError(
                    f"out of memory with the plan {plan} ({reason}); "
                    + ("give none, and a smaller one is looked for." if given else "no smaller one is left: resize it.")
                )
            plan = smaller
            self.why = f"out of memory ({reason}); then {plan}"
            _log.warning(self.why)

    def _run_plan(self, plan: Plan, photos: Pixels, x_t: NDArray[np.float32], table: Steps) -> Pixels:
        if plan.kind != "whole":
            self._programs.clear()  # what they keep was not planned for
            pixels = np.empty(photos.shape, photos.dtype)
            for photo, noise, result in zip(photos, x_t, pixels, strict=True):
                if self._bounded is None or self._bounded[0] != plan:
                    self._bounded = None
                    self._bounded = plan, Bounded(self.backend, self.manifest, plan)
                bounded = self._bounded[1]
                result[...] = bounded.run(photo, noise, table)
                self.timings, self.step_timings = bounded.timings, bounded.step_timings
            return pixels
        self._bounded = None
        started = perf_counter_ns()
        image = to_tensor(photos, self.manifest.pad_multiple)
        pad_ms = (perf_counter_ns() - started) / 1e6
        key = (len(photos), image.shape[2], image.shape[3])
        if self._promised and key not in self._programs:
            self._programs.clear()  # what they keep was not planned for
        program = self._program(*key)
        return self._pixels(program, program.run(image, x_t, table), photos, pad_ms)

    def _smaller(self, plan: Plan, steps: int, batch: int, dtype: DTypeLike, held_bytes: int) -> Plan | None:
        """The next one to try, or None."""
        try:
            return self._decide(plan.height, plan.width, steps, batch, dtype, None, than=plan, held_bytes=held_bytes)
        except InputError:
            return None

    def _drop_buffers(self) -> None:
        self._programs.clear()
        self._bounded = None

    def _pixels(self, program: Program, output: NDArray[np.float32], photos: Pixels, pad_ms: float) -> Pixels:
        """The result for ``photos`` (their shape and dtype count) from the program's output."""
        _, height, width, _ = photos.shape
        self.timings, self.step_timings = {"pad": pad_ms, **program.timings}, program.step_timings
        started = perf_counter_ns()
        if not np.isfinite(output).all():
            raise EngineError(
                f"the result of a {width}x{height} photo holds NaN or infinity ({self.manifest.precision} package, "
                f"backend {self.backend.name}); use an fp32 or bf16 package."
            )
        pixels = to_pixels(output, height, width, photos.dtype)
        self.timings["crop"] = (perf_counter_ns() - started) / 1e6
        return pixels

    def self_test(self) -> int:
        """Run the package's golden sample here; return the largest difference in grey levels.

        Raises EngineError when it is more than the precision allows (1 level in fp32).
        """
        golden = self.golden()
        result = self(golden["photo"], noise=golden["noise"], steps=int(golden["steps"]))
        worst = int(np.abs(result.astype(np.int32) - golden["expected"]).max())
        allowed = _GREY_LEVELS[self.manifest.precision]
        if worst > allowed:
            raise EngineError(
                f"self-test failed: backend {self.backend.name} differs from the golden sample by {worst} grey "
                f"levels; {allowed} allowed. Update the engine library or use another backend."
            )
        return worst

    def golden(self) -> dict[str, NDArray[Any]]:
        """The golden sample: photo (H, W, 3) uint8, noise, steps, expected (H, W, 3) uint8 of the PyTorch model."""
        return read_golden(self.package)

    def close(self) -> None:
        """Give the sessions and buffers back. The enhancer is of no use afterwards; closing twice is harmless."""
        with self._lock, self._collecting:
            if self._closed:
                return
            self._closed = True
            self._drop_buffers()
            self._steps.clear()
            self.backend.close()

    def __enter__(self) -> Enhancer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _noise(
        self, noise: Any, seed: int | None, batch: int, height: int, width: int, *, alone: bool
    ) -> NDArray[np.float32]:
        return make_noise(noise, seed, batch, self.noise_shape(height, width), f"{width}x{height}", alone=alone)

    def _table(self, steps: int, sampler: str) -> Steps:
        table = make_table(np.asarray(self.manifest.alphas_cumprod), steps, sampler)
        key = (sampler, len(table))
        if key not in self._steps:
            self._steps[key] = Steps(self.backend, self.manifest, table)
        return self._steps[key]

    def _program(self, batch: int, height: int, width: int) -> Program:
        key = (batch, height, width)
        program = self._programs.pop(key, None)
        if program is None:
            while len(self._programs) >= _SHAPES_KEPT:
                self._programs.popitem(last=False)
            program = Program(self.backend, self.manifest, batch, height, width)
        self._programs[key] = program
        return program
