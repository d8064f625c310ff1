"""The engines of one package for one library: found in the cache, checked, loaded, and given contexts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engines.cache import PLAN
from ...engines.entry import Engine
from ...engines.fit import Machine, needed, photo_of, photo_sizes
from ...engines.refusal import build_command
from ...errors import InputError
from ...package.manifest import Stage
from ...package.reading import Package
from .cuda import DeviceMemory
from .library import Library
from .runtime_cache import RuntimeCache

if TYPE_CHECKING:
    import tensorrt as trt

Shapes = Mapping[str, tuple[int, ...]]
_DTYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int32": "INT32"}
_SMALLER = "Out of memory? Use a smaller photo or batch."


@dataclass(eq=False)
class Context:
    """An execution context at fixed shapes."""

    stage: str
    context: trt.IExecutionContext
    scratch_bytes: int
    """What it needs while it runs, and is given by ``use_scratch``."""
    library: Library

    def use_scratch(self, block: DeviceMemory) -> None:
        self.context.set_device_memory(block.address, block.size)

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> None:
        """Queue one run on these device addresses. They may be others the next time: a run keeps its own."""
        for name, address in addresses.items():
            if not self.context.set_tensor_address(name, address):
                raise self.library.failure(f"did not take the address of {name} of {self.stage}", _SMALLER)
        if not self.context.execute_async_v3(stream):
            raise self.library.failure(f"could not run {self.stage}", _SMALLER)

    def capturable(self, stream: int) -> bool:
        """Whether its work can be put into a CUDA graph. TensorRT proper can always, and has no such question."""
        ask = getattr(self.context, "is_stream_capturable", None)
        return ask is None or bool(ask(stream))


class Engines:
    """Raises EngineError where a stage has no engine for this machine, or one that does not load."""

    def __init__(self, package: Package, library: Library) -> None:
        self._package, self._library = package, library
        self._runtime: trt.Runtime | None = library.trt.Runtime(library.log)
        machine = Machine({library.target: library.version}, library.gpu)
        self._entries = {
            stage.name: needed(package, stage.name, library.target, machine) for stage in package.manifest.stages
        }
        self._loaded: dict[Path, tuple[trt.ICudaEngine, RuntimeCache | None]] = {}  # TensorRT has no such cache
        for stage in package.manifest.stages:  # a damaged engine is told now, not at the first photo
            self._load(stage, self._entries[stage.name][0])

    def maker(self, stage: Stage, shapes: Shapes) -> Callable[[], Context]:
        """Makes contexts of ``stage`` for input tensors of these shapes; a context lives until it is dropped. Raises
        InputError where no engine covers the shapes; the maker raises EngineError."""
        return partial(self._make_context, stage, self._choose(stage, shapes), shapes)

    def close(self) -> None:
        for _, cache in self._loaded.values():
            if cache is not None:
                cache.save()
        self._loaded.clear()
        self._runtime = None

    def _choose(self, stage: Stage, shapes: Shapes) -> Engine:
        """The engine that covers the shapes, of several the one with the smallest range: it is tuned most closely."""
        covering = [entry for entry in self._entries[stage.name] if _covers(entry, shapes)]
        if covering:
            return min(covering, key=_range)
        batch, width, height = photo_of(stage, shapes)
        there = ", ".join(photo_sizes(stage, entry) for entry in self._entries[stage.name])
        command = f"{build_command(self._package.path, self._library.target)} --max-size {width}x{height}"
        command += f" --batch {batch}" if batch > 1 else ""
        raise InputError(
            f"no {self._library.target} engine of {stage.name} takes a batch of {batch} photo(s) of {width}x{height} "
            f"(padded); the engines here take {there}. Build one that does: `{command}`."
        )

    def _load(self, stage: Stage, entry: Engine) -> tuple[trt.ICudaEngine, RuntimeCache | None]:
        if entry.path not in self._loaded:
            assert self._runtime is not None
            engine = self._runtime.deserialize_cuda_engine(entry.read(PLAN))
            if engine is None:
                raise self._library.failure(f"cannot load {entry.path / PLAN}", entry.rebuild)
            self._check_tensors(stage, entry, engine)
            cache = None
            if self._library.rtx:
                config: Any = engine.create_runtime_config()
                cache = RuntimeCache(entry.path, entry.files[PLAN][0], config.create_runtime_cache())
            self._loaded[entry.path] = engine, cache
        return self._loaded[entry.path]

    def _check_tensors(self, stage: Stage, entry: Engine, engine: trt.ICudaEngine) -> None:
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found = {name: (engine.get_tensor_dtype(name).name, engine.get_tensor_location(name).name) for name in names}
        wanted = {name: (_DTYPES[spec.dtype], "DEVICE") for name, spec in stage.tensors.items()}
        if found != wanted:
            name = min(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
            here, there = found.get(name, "not there"), wanted.get(name, "none of that name")
            raise entry.failure(f"its tensor {name} is {here}; the package's {stage.name} has {there} (foreign)", PLAN)

    def _make_context(self, stage: Stage, entry: Engine, shapes: Shapes) -> Context:
        engine, cache = self._load(stage, entry)
        library, failure = self._library.trt, self._library.failure
        strategy = library.ExecutionContextAllocationStrategy.USER_MANAGED
        if cache is not None:
            config: Any = engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            # a graph keeps the kernels it was captured with: the shape's own have to be there by then
            eager = library.DynamicShapesKernelSpecializationStrategy.EAGER
            config.dynamic_shapes_kernel_specialization_strategy = eager
            if not config.set_runtime_cache(cache.cache):
                raise failure("did not take its runtime cache", entry.rebuild)
            context = engine.create_execution_context(config)
        else:
            context = engine.create_execution_context(strategy)
        if context is None:
            raise failure(f"made no execution context of {stage.name}", _SMALLER)
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise failure(f"refused the shape {shape} of {name} of {stage.name}", entry.rebuild)
        return Context(stage.name, context, int(context.update_device_memory_size_for_shapes()), self._library)


def _covers(entry: Engine, shapes: Shapes) -> bool:
    for name, (smallest, _, largest) in entry.key["profile"].items():
        shape = shapes[name]
        if not all(low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)):
            return False
    return True


def _range(entry: Engine) -> int:
    return sum(math.prod(largest) - math.prod(smallest) for smallest, _, largest in entry.key["profile"].values())
