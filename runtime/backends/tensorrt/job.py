"""The parts of a photo on the GPU: two streams, and one CUDA graph of everything where the library allows it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import EngineError
from ..base import Part, Times
from .cuda import DeviceMemory, Event, Graph, Stream, capture, elapsed, first_device
from .engines import Context

_SMALLEST = 256  # bytes; several stages need none


class Lane:
    """A stream and the scratch memory that everything on it shares, one piece of work after the other.

    A block lives as long as a job uses it: the job's graph has its address. Jobs of like sizes share one; a job that
    needs more, or less than half, has its own, so that a large photo's memory goes with the large photo.
    """

    def __init__(self) -> None:
        self.stream = Stream()
        self._blocks: weakref.WeakSet[DeviceMemory] = weakref.WeakSet()

    def scratch(self, size: int) -> DeviceMemory:
        size = max(size, _SMALLEST)
        fitting = [block for block in self._blocks if size <= block.size <= 2 * size]
        if fitting:
            return min(fitting, key=lambda block: block.size)
        block = DeviceMemory(size)
        self._blocks.add(block)
        return block


class StageCall:
    """A stage on fixed buffers. Called, it runs on the lane's stream; in a job, where the job puts it."""

    def __init__(self, make: Callable[[], Context], kind: object, tensors: Mapping[str, Any], lane: Lane) -> None:
        self.make_context = make
        self.kind = kind
        """Equal for calls that a context can serve one after the other: the stage and its shapes."""
        self._own: Context | None = None
        self._kept = tuple(tensors.values())
        self._addresses = {name: tensor.memory.address for name, tensor in tensors.items()}
        self._lane = lane
        self._scratch: DeviceMemory | None = None

    def enqueue(self, context: Context, stream: Stream) -> None:
        context.enqueue(self._addresses, stream.number)

    @first_device()
    def __call__(self) -> None:
        self._own = self._own or self.make_context()
        self._scratch = self._lane.scratch(self._own.scratch_bytes)
        self._own.use_scratch(self._scratch)
        self.enqueue(self._own, self._lane.stream)


class TrtJob:
    """The parts before the last run on the main lane, those aside on the other one beside them; the last waits for
    both. The first submit runs them one by one and captures them for the submits after it; where CUDA refuses that,
    those run one by one too, and ``refused`` is told the reason.

    Its execution contexts are its own, one a stage: what a library keeps in a context is not said, and NVIDIA advises
    one for each captured graph. Their scratch memory is the lane's."""

    def __init__(
        self, parts: Sequence[Part], main: Lane, aside: Lane, uploads: Stream, refused: Callable[[str], None]
    ) -> None:
        self._work: list[tuple[str, StageCall, Context, Lane]] = []
        contexts: dict[object, Context] = {}
        for part in parts:
            assert isinstance(part.call, StageCall)
            kind = part.call.kind
            if kind not in contexts:
                contexts[kind] = part.call.make_context()
            self._work.append((part.name, part.call, contexts[kind], aside if part.concurrent else main))
        self._main, self._aside, self._uploads, self._refused = main, aside, uploads, refused
        self._scratch: dict[Lane, DeviceMemory] = {}
        for lane in (main, aside):
            needs = [context.scratch_bytes for _, _, context, where in self._work if where is lane]
            if needs:
                self._scratch[lane] = lane.scratch(max(needs))
        for _, _, context, lane in self._work:
            context.use_scratch(self._scratch[lane])
        self.capturable = all(context.capturable(lane.stream.number) for _, _, context, lane in self._work)
        self._uploaded, self._fork, self._join = Event(), Event(), Event()
        self._start, self._end = Event(timed=True), Event(timed=True)
        self._marks: list[tuple[Event, Event]] = []
        self._graph: Graph | None = None

    @first_device()
    def submit(self) -> None:
        main = self._main.stream
        if not self.capturable and not self._marks:
            self._marks = [(Event(timed=True), Event(timed=True)) for _ in self._work]
        self._uploaded.record(self._uploads)
        main.wait(self._uploaded)
        self._start.record(main)
        if self._graph is not None:
            self._graph.launch(main)
        else:
            self._enqueue()
        self._end.record(main)
        if self._graph is None and self.capturable:
            # after a run that has ended: the library finishes what a new shape needs in it, which no capture may hold
            main.synchronize()
            try:
                self._graph = capture(main, self._enqueue)
            except EngineError as error:
                self.capturable = False
                self._refused(str(error))

    def wait(self) -> Times:
        self._end.synchronize()
        if not self._marks:
            return [("graph", elapsed(self._start, self._end))]
        return [(name, elapsed(*marks)) for (name, *_), marks in zip(self._work, self._marks, strict=True)]

    def _enqueue(self) -> None:
        before, last = self._main, len(self._work) - 1
        forked = False
        for index, (_, call, context, lane) in enumerate(self._work):
            if lane is self._aside and before is self._main:
                self._fork.record(self._main.stream)
                self._aside.stream.wait(self._fork)
                forked = True
            if index == last and forked:
                self._join.record(self._aside.stream)
                self._main.stream.wait(self._join)
            if self._marks:
                self._marks[index][0].record(lane.stream)
            call.enqueue(context, lane.stream)
            if self._marks:
                self._marks[index][1].record(lane.stream)
            before = lane
