"""ncnn: plain processors, and any GPU that speaks Vulkan, from engines built by ``python -m export.engine PACKAGE
--target ncnn``.

An engine takes every photo size and batch 1: a batch is run one by one. The wavelet transforms and the sampler's
update are numpy's. Half precision is how ncnn keeps weights and tensors; what goes in and comes out is float32.
"""

from __future__ import annotations

import ctypes
import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..engines.cache import PARAM, SHIFTS, WEIGHTS
from ..engines.entry import Engine
from ..engines.fit import Machine, needed
from ..engines.libraries import loading
from ..errors import BackendUnavailableError, EngineError, InputError, OutOfMemoryError, one_line
from ..machine.cores import is_x86, usable_cores
from ..machine.forks import Library, keep_in_forks
from ..machine.held import held_stderr
from ..names import TAKES, Precision
from ..package.manifest import TensorSpec
from ..package.reading import Package
from ..planning.traits import Traits
from .base import PLAIN, Call, Form
from .host import Array, HostBackend

with loading("ncnn", "the backend ncnn"):
    import ncnn

_WAVELETS = ("dwt", "idwt")
_CPU = -1  # for a device's number
_NO_MEMORY = -100  # what ncnn answers
_HALF = ("fp16", "bf16")


def _device(providers: Sequence[str]) -> int:
    """The number of the Vulkan device, or _CPU. Raises InputError or BackendUnavailableError."""
    name, _, number = ", ".join(providers).lower().partition(":")
    if (name, number) == ("cpu", ""):
        return _CPU
    if name != "vulkan" or not (number or "0").isdecimal():
        raise InputError(f"the backend ncnn has no provider {', '.join(providers)!r}; use cpu, vulkan or vulkan:N.")
    count, said = count_devices()
    if int(number or 0) >= count:
        raise BackendUnavailableError(
            f"ncnn {ncnn.__version__} finds {count} Vulkan devices here{said}, and {providers[0]} was asked for. "
            "`vulkaninfo --summary` lists them; the loader is libvulkan1, drivers come with the GPU's (Mesa: "
            "mesa-vulkan-drivers)."
        )
    return int(number) if number else int(ncnn.get_default_gpu_index())


def count_devices() -> tuple[int, str]:
    """The number of Vulkan devices, and in brackets what the library says where there is none."""
    with held_stderr() as lines:  # it describes each device in four lines
        count = int(ncnn.get_gpu_count())
    return count, f" ({one_line('; '.join(lines))})" if lines and not count else ""


_library = Library()
"""Of the first net: the OpenMP library's threads serve the whole process."""


class NcnnBackend(HostBackend):
    """One net a stage. providers: one of ``cpu`` (the default), ``vulkan``, ``vulkan:N``."""

    name = "ncnn"

    def __init__(self, package: Package, providers: Sequence[str] | None = None, *, low_memory: bool = False) -> None:
        device, precision = _device(providers or ("cpu",)), package.manifest.precision
        if precision not in TAKES["ncnn"]:
            raise InputError(f"{package.path}: a package in {precision}; the backend ncnn takes fp32, fp16 and bf16.")
        # a full-size 600x400 photo takes 7 % longer where its memory is given back
        self._low_memory = low_memory
        self._levels = package.manifest.levels
        self._nets: dict[str, _Net] = {}
        self._pools = [ncnn.PoolAllocator() for _ in range(2)]
        for pool in self._pools:
            pool.set_size_compare_ratio(0.0)  # any piece that is large enough, as in a net's own pools
        self._shifts: Array = np.empty(0)
        machine = Machine({self.name: ncnn.__version__})
        for stage in package.manifest.stages:
            if stage.name in _WAVELETS:
                continue
            engine = needed(package, stage.name, self.name, machine)[0]
            self._nets[stage.name] = _Net(engine, stage.name, precision, device, self._pools)
            if stage.name == "denoiser":
                self._shifts = _table(engine, package.manifest.num_train_timesteps)
        # ncnn's fused attention holds all scores at once on what is not x86, and older engines have none
        fused = device == _CPU and is_x86() and "SDPA" in self._nets["denoiser"].layers
        plain = 0.0 if fused else 1.6
        self.traits = Traits(4.0, live_rest=6.0, weights=2.0, live_plain=plain, keeps="photo" if low_memory else "all")

    def buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, np.int32 if spec.dtype == "int32" else np.float32)

    def bind(self, stage: str, tensors: Mapping[str, Array], *, last: bool = True, form: Form = PLAIN) -> Call:
        runs = {"dwt": self._dwt, "denoiser": self._denoiser, "idwt": self._idwt}
        run, bound = runs.get(stage) or partial(self._hfrm, stage.removeprefix("hfrm")), dict(tensors)
        # after the loop and at a photo's end, not after an HFRM: what that took serves the next stage
        gives_back = last and self._low_memory and stage in ("denoiser", "idwt")

        def call() -> None:
            run(bound)
            if gives_back:
                self._give_back()

        return call

    def close(self) -> None:
        self._nets.clear()
        self._give_back()

    def _give_back(self) -> None:
        for pool in self._pools:
            pool.clear()

    def _dwt(self, tensors: Mapping[str, Array]) -> None:
        low = 2 * tensors["image"] - 1
        for level in range(self._levels):
            low = _split(low, tensors[f"details{level}"])
        np.copyto(tensors["x_cond"], low)

    def _hfrm(self, level: str, tensors: Mapping[str, Array]) -> None:
        for source, result in zip(tensors[f"details{level}"], tensors[f"restored{level}"], strict=True):
            self._nets[f"hfrm{level}"].run((source,), result)

    def _denoiser(self, tensors: Mapping[str, Array]) -> None:
        x_t, x_next, history = tensors["x_t"], tensors["x_next"], tensors["history"]
        shifts = self._shifts[int(tensors["timestep"][0])]
        eps = np.empty_like(x_next)
        for cond, noisy, result in zip(tensors["x_cond"], x_t, eps, strict=True):
            self._nets["denoiser"].run((cond, noisy, shifts), result)
        c0, c1, c2, c3, c4 = tensors["coefficients"]
        np.copyto(x_next, c0 * x_t + c1 * eps + c2 * history)
        np.copyto(tensors["history_next"], c3 * x_t + c4 * eps)

    def _idwt(self, tensors: Mapping[str, Array]) -> None:
        low = tensors["x_0"]
        for level in reversed(range(self._levels)):
            low = _merge(low, tensors[f"restored{level}"])
        np.clip((low + 1) / 2, 0, 1, out=tensors["image"])


def keep_precision(options: Any, precision: Precision) -> None:
    """Have a net (its ``ncnn.Option``) keep its tensors in ``precision`` and nothing else; sums are float32 always."""
    for option in dir(options):
        if option.startswith("use_") and any(kind in option for kind in (*_HALF, "int8")):
            setattr(options, option, option in (f"use_{precision}_storage", f"use_{precision}_packed"))


def load_net(net: Any, param: bytes, weights: bytes) -> str:
    """Load an engine into ncnn's ``net`` from memory: from a file it would read what may be another one since it was
    hashed. Returns why it cannot be loaded, or ""."""
    try:
        text = param.decode()
    except UnicodeDecodeError:
        return "its layers are no text"
    reader = _Weights(weights)
    if "\0" in text or net.load_param_mem(text):
        return "its layers cannot be read"
    if net.load_model(reader):
        return f"its weights end too early, at {reader.place:,} of {len(weights):,} bytes"
    return f"its weights have {len(weights) - reader.place:,} bytes too many" if reader.place != len(weights) else ""


class _Weights(ncnn.DataReader):  # type: ignore[misc]
    """Weights in memory, for ncnn to copy from: its own ``load_model_mem`` keeps pointers into what Python frees."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content, self.place = memoryview(content), 0

    def read(self, buffer: Any, size: int) -> int:
        """buffer: a capsule of the memory to fill with ``size`` bytes. Returns how many there were."""
        part = self._content[self.place : self.place + size]
        self.place += len(part)
        ctypes.memmove(_pointer(buffer, None), bytes(part), len(part))
        return len(part)


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


class _Net:
    """A loaded engine. device: the number of a Vulkan device, or _CPU. pools: for tensors and for scratch memory."""

    def __init__(self, engine: Engine, stage: str, precision: Precision, device: int, pools: Sequence[Any]) -> None:
        if problem := _library.use("ncnn was used"):
            raise EngineError(problem)
        self._stage, self._pools = stage, pools
        self._net = keep_in_forks(ncnn.Net())
        options = self._net.opt
        keep_precision(options, precision)
        options.use_vulkan_compute = device != _CPU
        if device != _CPU:
            self._net.set_vulkan_device(device)
        # use_packing_layout stays on: without it a full-size photo takes 3.3 s in place of 4.2 on an AVX-512
        # processor, but ncnn 1.0.20261020 crashes on networks with few channels
        options.num_threads = usable_cores()
        param, weights = engine.read(PARAM), engine.read(WEIGHTS)
        if reason := load_net(self._net, param, weights):
            raise engine.failure(f"ncnn {ncnn.__version__} cannot load it ({reason})")
        self.layers = {words[0] for line in param.decode().splitlines() if (words := line.split())}

    def run(self, inputs: Sequence[Array], result: Array) -> None:
        """inputs: (C, H, W) float32, contiguous. Raises EngineError."""
        extractor = self._net.create_extractor()
        # an extractor's and not the net's: weights that live in a pool would have to go before it
        extractor.set_blob_allocator(self._pools[0])
        extractor.set_workspace_allocator(self._pools[1])
        # cloned: ncnn wants every channel aligned
        mats = [ncnn.Mat(one).clone() for one in inputs]
        failed = next((code for index, mat in enumerate(mats) if (code := extractor.input(f"in{index}", mat))), 0)
        if not failed:
            failed, output = extractor.extract("out0")
            if not failed:
                array = np.asarray(output)
                if array.shape == result.shape:
                    np.copyto(result, array)
                    return
        failure = OutOfMemoryError if failed == _NO_MEMORY else EngineError
        raise failure(f"ncnn could not run {self._stage} ({failed}). Out of memory? Use a smaller photo.")


def _table(engine: Engine, rows: int) -> Array:
    """The denoiser's time shifts, a (C, 1, 1) array a timestep."""
    try:
        table = np.load(io.BytesIO(engine.read(SHIFTS)), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise engine.failure(f"its {SHIFTS} is damaged") from error
    if table.ndim != 2 or table.shape[0] != rows or table.dtype != np.float32:
        raise engine.failure(f"its {SHIFTS} is not of this package")
    found: Array = np.ascontiguousarray(table)[:, :, None, None]
    return found


def _split(image: Array, details: Array) -> Array:
    """One Haar level: (B, C, H, W) -> the average band (B, C, H/2, W/2); HL, LH, HH go into ``details``."""
    half = image / 2
    upper, lower = half[:, :, 0::2], half[:, :, 1::2]
    total, rows = upper + lower, lower - upper
    channels = image.shape[1]
    np.subtract(total[..., 1::2], total[..., 0::2], out=details[:, :channels])
    np.add(rows[..., 0::2], rows[..., 1::2], out=details[:, channels : 2 * channels])
    np.subtract(rows[..., 1::2], rows[..., 0::2], out=details[:, 2 * channels :])
    low: Array = total[..., 0::2] + total[..., 1::2]
    return low


def _merge(low: Array, details: Array) -> Array:
    """The inverse of ``_split``."""
    batch, channels, height, width = low.shape
    ll, (hl, lh, hh) = low / 2, (details[:, start : start + channels] / 2 for start in (0, channels, 2 * channels))
    merged: Array = np.empty((batch, channels, 2 * height, 2 * width), low.dtype)
    minus, plus = ll - hl, ll + hl
    merged[:, :, 0::2, 0::2] = minus - lh + hh
    merged[:, :, 0::2, 1::2] = plus - lh - hh
    merged[:, :, 1::2, 0::2] = minus + lh - hh
    merged[:, :, 1::2, 1::2] = plus + lh + hh
    return merged
