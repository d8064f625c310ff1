"""onnxruntime's CUDA provider: a session for each stage and shape, whose work is captured into CUDA graphs.

Where every dimension is known, onnxruntime computes a graph's shape arithmetic and the branches of its attention when
it loads it: no node is left for the CPU and no control flow, as capturing wants it. A session keeps each graph that it
captured, with its memory, as long as it lives; so it lives as long as calls on buffers of its shape do, and where it
holds many graphs that no call uses any more, the next call gets a new session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from weakref import WeakValueDictionary

import onnxruntime as ort

from ...errors import EngineError
from ...package.manifest import Stage
from ..base import Form

CAPTURES = {"CUDAExecutionProvider": {"enable_cuda_graph": "1"}}
"""The options that make a provider capture. TensorRT's has such an option too, and keeps one graph a session whatever
the buffers are: the ten calls of the denoiser would all replay the first."""
OPTIONS = {"CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC"}}
"""Captured or not. By default cuDNN tries out every algorithm it has for every convolution of every new size: on an
H200 8 to 10 s passed until the first photo, with its heuristics 2.8 s, and photos after it took 1.03 times as long."""
FOR_STAGE: dict[str, dict[str, str]] = {}
"""More options for a stage, as measured on a GPU."""
_UNUSED_KEPT = 64
"""Graphs that a session may hold for buffers that no call uses: they may come again."""
_REFUSALS = ("the graph capture feature", "the CUDA Graph feature")  # onnxruntime's words, by version
Dimensions = Mapping[str, int]
"""What a graph calls its dimensions (``batch``, ``height/4``, ...), in numbers."""
Opener = Callable[[Stage, Form, Dimensions, bool], ort.InferenceSession]
"""Opens a session of known dimensions, which captures or not."""


class FixedSession:
    """One stage at one shape. Its first run on each set of buffers is captured and later ones replay that, unless
    ``why`` says why not."""

    def __init__(self, session: ort.InferenceSession, why: str = "") -> None:
        self.session, self.why = session, why
        self.captured: set[tuple[int, ...]] = set()
        """The buffers that a graph was captured on."""
        self._graphs: dict[tuple[int, ...], int] = {}
        self._used: WeakValueDictionary[tuple[int, ...], ort.RunOptions] = WeakValueDictionary()

    @property
    def worn(self) -> bool:
        """Whether it holds too many graphs that no call uses."""
        return len(self._graphs) - len(self._used) > _UNUSED_KEPT

    def options(self, addresses: tuple[int, ...]) -> ort.RunOptions:
        """For a run on the buffers at these places: a graph reads and writes where it was captured. It is in use as
        long as the options are kept."""
        options = self._used.get(addresses)
        if options is None:
            options = self._used[addresses] = ort.RunOptions()
            number = self._graphs.setdefault(addresses, len(self._graphs) + 1)
            options.add_run_config_entry("gpu_graph_id", str(number))
        return options


class FixedSessions:
    """Sessions by stage, form and dimensions; each is kept by the calls that use it and by nothing else."""

    def __init__(self) -> None:
        self._sessions: WeakValueDictionary[tuple[object, ...], FixedSession] = WeakValueDictionary()

    def find(self, opener: Opener, stage: Stage, form: Form, shapes: Mapping[str, tuple[int, ...]]) -> FixedSession:
        """shapes: of the stage's tensors, by name. Raises EngineError."""
        dimensions = {
            symbol: size
            for name, spec in stage.tensors.items()
            for symbol, size in zip(spec.shape, shapes[name], strict=True)
            if isinstance(symbol, str)
        }
        key = (stage.name, form, *sorted(dimensions.items()))
        found = self._sessions.get(key)
        if found is None or found.worn:
            found = self._sessions[key] = _open(opener, stage, form, dimensions)
        return found


def _open(opener: Opener, stage: Stage, form: Form, dimensions: Dimensions) -> FixedSession:
    try:
        return FixedSession(opener(stage, form, dimensions, True))
    except EngineError as error:
        # large photos' attention is a loop over blocks, and a provider may have no kernel for some node
        if not any(refusal in str(error) for refusal in _REFUSALS):
            raise
        sizes = ", ".join(f"{symbol} {size}" for symbol, size in dimensions.items())
        reason = " ".join(str(error.__cause__).split())
        why = f"no CUDA graph of {stage.name} ({sizes}): {reason}"
        return FixedSession(opener(stage, form, dimensions, False), why)
