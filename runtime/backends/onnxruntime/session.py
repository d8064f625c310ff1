"""onnxruntime: a plain CPU everywhere, and whatever other execution providers the installed build has."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock
from types import MappingProxyType
from typing import Any

import numpy as np

from ...engines.libraries import install_line, loading
from ...errors import BackendUnavailableError, EngineError, InputError, PackageError, one_line
from ...machine.cores import is_x86, usable_cores
from ...machine.forks import keep_in_forks
from ...machine.gpu import free_gpu_bytes
from ...names import LOOP
from ...package.edits import with_key_stride, with_uint8_activations, with_whole_scores
from ...package.manifest import Stage, TensorSpec
from ...package.reading import Package
from ...planning.traits import Traits
from .. import bfloat16
from ..base import PLAIN, Call, Form, Job, Part, PhotoIO
from ..host import Array, InOrder, run_failure

with loading("onnxruntime", "the backend onnxruntime"):
    import onnxruntime as ort

    from .capture import CAPTURES, FOR_STAGE, OPTIONS, Dimensions, FixedSessions
    from .forms import cuda_engine, engine_graph
    from .owner import OwnedJob, Owner
    from .photo_io import OrtPhotoIO
    from .preload import preload

_log = logging.getLogger(__name__)
_CPU = "CPUExecutionProvider"
# Threads that spin while they wait save 7 % on an idle machine and cost 29 % beside one busy process, on two cores;
# 100 us save 6 % and cost 14 %, and with two busy processes nothing. Older versions know all or nothing.
_NEW = tuple(map(int, ort.__version__.split(".")[:2])) >= (1, 32)
_SPIN = ("session.intra_op.spin_duration_us", "100") if _NEW else ("session.intra_op.allow_spinning", "0")
_NVIDIA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
_GPU_FREE = 0.7  # of a GPU's free memory that an attention's scores may take
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int32)": np.int32}
_REGION = 2040 << 20  # bytes of address space, the most that the option's 32 bits hold
_FIRST = Lock()  # of two backends opened at once one makes the region
_ANY: Dimensions = MappingProxyType({})
_PROVIDER_FAILED = "`python -m runtime.doctor` says which providers run here; or ask for the CPU."


class OnnxRuntimeBackend:
    """One session a stage, all with the same providers; one a stage and shape where the first provider has CUDA graphs.
    Buffers are OrtValues on the first provider's device. providers: by onnxruntime's names, whole or without
    "ExecutionProvider"; the CPU if there are none. With CUDA first, the denoiser is an engine of the target ``cuda``
    where one fits."""

    name = "onnxruntime"

    def __init__(self, package: Package, providers: Sequence[str] | None = None, *, low_memory: bool = False) -> None:
        tensors = [spec for stage in package.manifest.stages for spec in stage.tensors.values()]
        if any(spec.dtype == "bfloat16" for spec in tensors):
            raise InputError(
                f"{package.path}: a bf16 package, which onnxruntime cannot run on a CPU (no bfloat16 convolution); use "
                "an fp32 or fp16 package, or an engine built from this one (`python -m export.engine`)."
            )
        available = ort.get_available_providers()
        full = [f"{name.removesuffix('ExecutionProvider')}ExecutionProvider" for name in providers or (_CPU,)]
        for name in full:
            if name not in available:
                cure = f"for an NVIDIA GPU `{install_line('onnxruntime-gpu')}`"
                raise BackendUnavailableError(
                    f"provider {name} is not in this build of onnxruntime {ort.__version__} (it has "
                    f"{', '.join(available)}); install the build that has it ({cure}) in place of the one that is "
                    "there, or ask for another provider."
                )
        self._device = "cuda" if full[0] in _NVIDIA else "cpu"
        self._not_loaded = preload() if self._device == "cuda" else ""
        self._package, self._providers = package, full
        with _FIRST:
            self._one_region = low_memory and full == [_CPU] and _one_region()
        live, low = (1.15, 0.9) if self._one_region else (1.45, 1.15)
        self.traits = (
            Traits(live=1.45, live_rest=1.1, weights=4.0, device=True)
            if self._device == "cuda"
            else Traits(live=live, live_rest=1.1, weights=4.0, live_low_memory=low, key_stride=True)
        )
        self._fixed = FixedSessions() if full[0] in CAPTURES else None
        self.converts = self._fixed is not None
        self._engine, self.why = cuda_engine(package) if self._fixed else (None, "")
        if self.why:
            _log.info(self.why)
        self._uncaptured = ""
        self._owner = Owner()
        self._whole_scores: dict[tuple[int, ...], bool] = {}
        self._sessions: dict[str, ort.InferenceSession] = {}
        if self._fixed:
            self._owner.run(
                lambda: self._session(package.manifest.stages[0])
            )  # whether the provider's libraries load is found out now
        else:
            self._sessions = {stage.name: self._session(stage) for stage in package.manifest.stages}
        self._other: tuple[Form, ort.InferenceSession] | None = None
        # The arena of a session keeps what the largest photo took (1.8 GB after one in 4K). Given back after every
        # run it costs a quarter of the time; given back after the last step of a photo it costs nothing visible.
        self._release = ort.RunOptions()
        shrink = "cpu:0" if self._device == "cpu" else "cpu:0;gpu:0"
        self._release.add_run_config_entry("memory.enable_memory_arena_shrinkage", shrink)

    def _session(
        self, stage: Stage, form: Form = PLAIN, dimensions: Dimensions = _ANY, captures: bool = False
    ) -> ort.InferenceSession:
        package, providers = self._package, self._providers
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.load_model_format", "ONNX")  # never guessed from the bytes
        options.intra_op_num_threads = usable_cores()
        options.add_session_config_entry(*_SPIN)
        if self._one_region:
            options.add_session_config_entry("session.use_env_allocators", "1")
        options.enable_mem_pattern = False  # one plan is kept for every shape ever seen: memory that only grows
        if form.low_memory:
            # without the blocked layout of its convolutions and the copies into and out of it: two thirds of the
            # memory, at 1.2 times the time
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        for symbol, size in dimensions.items():
            options.add_free_dimension_override_by_name(symbol, size)
        if _CPU not in providers and self._fixed is None:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        engine = self._engine if stage.name == LOOP else None
        where = str(engine.path if engine else package.path / stage.file)
        graph = engine_graph(engine, package.manifest) if engine else package.graph(stage.name)
        if form.key_stride != 1:
            graph = with_key_stride(graph, form.key_stride, where)
        if form.whole_scores:
            graph = with_whole_scores(graph, where)
        if package.manifest.precision == "int8" and providers == [_CPU] and is_x86():
            graph = with_uint8_activations(graph)
        asked: list[Any] = list(providers)
        told = OPTIONS.get(providers[0], {}) | FOR_STAGE.get(stage.name, {})
        if self._engine and not self._engine.key["flags"].get("tf32", True):
            told = told | {"use_tf32": "0"}
        if captures or told:
            asked[0] = (providers[0], told | (CAPTURES[providers[0]] if captures else {}))
        try:
            session = keep_in_forks(ort.InferenceSession(graph, options, providers=asked, enable_fallback=0))
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise EngineError(
                f"{where}: onnxruntime {ort.__version__} cannot load it ({one_line(error)}); "
                + ("update onnxruntime or build the package again." if providers == [_CPU] else _PROVIDER_FAILED)
            ) from error
        names = [node.name for node in (*session.get_inputs(), *session.get_outputs())]
        if set(names) != set(stage.tensors):
            raise PackageError(
                f"{where}: its tensors are {', '.join(names)}, the manifest's "
                f"{', '.join(stage.tensors)}; build the package again."
            )
        if session.get_providers()[0] != providers[0]:
            raise BackendUnavailableError(
                f"provider {providers[0]} was asked for and onnxruntime fell back to {session.get_providers()[0]}: "
                f"its libraries do not load here ({self._not_loaded or 'CUDA or cuDNN of another version?'}); "
                "`python -m runtime.doctor` says what to install, or ask for the CPU."
            )
        return session

    def photo_io(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], image: ort.OrtValue, output: ort.OrtValue
    ) -> PhotoIO:
        def open_session(graph: bytes) -> ort.InferenceSession:
            options = ort.SessionOptions()
            options.log_severity_level = 3
            try:
                return keep_in_forks(ort.InferenceSession(graph, options, providers=self._providers, enable_fallback=0))
            except Exception as error:  # onnxruntime's exceptions share no base but Exception
                reason = f"onnxruntime {ort.__version__} cannot convert photos ({one_line(error)})"
                raise EngineError(f"{reason}; {_PROVIDER_FAILED}") from error

        multiple = self._package.manifest.pad_multiple
        return self._owner.run(lambda: OrtPhotoIO(shape, dtype, multiple, image, output, open_session, self._owner))

    def buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> ort.OrtValue:
        dtype = np.dtype(spec.dtype)
        if self._device == "cpu":  # an OrtValue over numpy's memory
            return ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype))
        with self._owner.capturing:
            return ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype.type, self._device, 0)

    def upload(self, buffer: ort.OrtValue, array: Array) -> None:
        content = np.ascontiguousarray(array, dtype=_DTYPES[buffer.data_type()])
        with self._owner.capturing:
            buffer.update_inplace(content)

    def download(self, buffer: ort.OrtValue) -> Array:
        with self._owner.capturing:
            content = buffer.numpy()
        return bfloat16.floats(content)

    def bind(self, stage: str, tensors: Mapping[str, ort.OrtValue], *, last: bool = True, form: Form = PLAIN) -> Call:
        fixed = None
        if self._fixed:
            shapes = {name: tuple(tensor.shape()) for name, tensor in tensors.items()}
            if stage == LOOP and self._engine:  # its attention has no blocks, and never writes the scores
                form = replace(form, whole_scores=False, key_stride=1)
            elif stage == LOOP:
                form = replace(form, whole_scores=self._scores_fit(shapes["x_t"]))
            find, graph = self._fixed.find, self._package.manifest.stage(stage)
            fixed = self._owner.run(lambda: find(self._session, graph, form, shapes))
            session = fixed.session
            if fixed.why and not self._uncaptured:
                self._uncaptured = fixed.why
                self.why = "; ".join(filter(None, (fixed.why, self.why)))
                _log.info(fixed.why)
        else:
            session = self._sessions[stage] if form == PLAIN else self._in_form(stage, form)
            if stage == LOOP and form == PLAIN:
                self._other = None  # its weights were not planned for
        binding = session.io_binding()
        for node in session.get_inputs():
            binding.bind_ortvalue_input(node.name, tensors[node.name])
        for node in session.get_outputs():
            binding.bind_ortvalue_output(node.name, tensors[node.name])

        run_options = self._release if last else None
        addresses = tuple(tensors[name].data_ptr() for name in sorted(tensors))
        if fixed and not fixed.why:  # its graphs use the arena's memory: it stays
            run_options = fixed.options(addresses)
        # onnxruntime 1.23 (Python 3.10) binds addresses: numpy's memory has to be kept by us
        kept = (fixed, *tensors.values())

        def call(_kept: tuple[object, ...] = kept) -> None:
            try:
                session.run_with_iobinding(binding, run_options)
            except Exception as error:
                raise run_failure(self.name, stage, error) from error

        def captured() -> None:
            assert fixed is not None
            if addresses in fixed.captured:
                call()
                return
            with self._owner.capturing:
                call()
            fixed.captured.add(addresses)

        return captured if fixed else call

    def _scores_fit(self, x_t: tuple[int, ...]) -> bool:
        """Whether an attention's scores fit the GPU's memory all at once, told once a shape: blocks of them are a loop,
        which no CUDA graph holds. x_t: its shape."""
        if x_t not in self._whole_scores:
            scale, free = 2**self._package.manifest.levels, free_gpu_bytes()
            needed = self._package.manifest.cost[LOOP].plain_live_bytes.at(x_t[2] * scale, x_t[3] * scale)
            self._whole_scores[x_t] = free is not None and x_t[0] * needed <= _GPU_FREE * free
        return self._whole_scores[x_t]

    def _in_form(self, stage: str, form: Form) -> ort.InferenceSession:
        """A second session, with weights of its own; one, of the form asked for last, is kept."""
        if self._other is None or self._other[0] != form:
            self._other = None
            self._other = (form, self._session(self._package.manifest.stage(stage), form))
        return self._other[1]

    def sequence(self, parts: Sequence[Part]) -> Job:
        return OwnedJob(InOrder(parts), self._owner) if self._fixed else InOrder(parts)

    def close(self) -> None:
        self._owner.close()
        self._sessions.clear()
        self._other = None


@functools.cache
def _one_region() -> bool:
    """An arena for the CPU sessions of this process that takes its memory as one large region.

    By default an arena grows in pieces of doubling size, in which large tensors leave gaps: a denoiser step took 90 to
    128 bytes a pixel (and 118 to 158 in the blocked layout) for photos between 1.5 and 3 megapixels, from one region
    always 90 to 95 (117 to 121). What is not written to takes no memory. A full-size 600x400 photo takes a tenth
    longer. False where the process has such an arena already, of another's making.
    """
    try:
        memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        config = {
            "max_mem": 0,
            "arena_extend_strategy": 0,
            "initial_chunk_size_bytes": 1 << 20,  # never given back; the next is as large once the arena was shrunk
            "max_dead_bytes_per_chunk": -1,
            "initial_growth_chunk_size_bytes": _REGION,
        }
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg(config))
    except Exception:  # onnxruntime's exceptions share no base but Exception
        return False
    return True
