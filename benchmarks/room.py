"""How much memory is free where configurations compute, and which of them may be alive side by side in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runtime.machine.gpu import pci_bus_id
from runtime.machine.host import free_memory_bytes
from runtime.names import LOOP

from .configs import Config
from .device_memory import DeviceMemory

_MARGIN = 512 << 20  # of the free memory, left to the machine and to the GPU's other users
# What a process takes of a GPU, over what its plan predicts: CUDA's context and the libraries' kernels, and arenas and
# workspaces that grow with the photo. With onnxruntime's CUDA provider on an H200 it was at most this much and at least
# 0.95 of it (benchmarks/results/h200/suite.jsonl).
_CONTEXT, _GROWTH = 1260 << 20, 2.8


@dataclass(frozen=True)
class Room:
    """Free bytes less a margin; None where they are not known."""

    host: int | None
    device: int | None
    """Of the first GPU."""

    @classmethod
    def now(cls) -> Room:
        found = free_memory_bytes(), DeviceMemory(pci_bus_id()).free()
        return cls(*(None if free is None else max(0, free - _MARGIN) for free in found))

    def of(self, config: Config) -> int | None:
        """Where the configuration computes."""
        return self.device if config.on_device else self.host


def with_context(config: Config, predicted: int) -> int:
    """Bytes that a configuration's process needs: of a GPU more than is predicted of a package. A baseline's prediction
    has its libraries' share."""
    if not config.on_device or config.job.kind != "package":
        return predicted
    return _CONTEXT + round(_GROWTH * predicted)


def groups(configs: Sequence[tuple[Config, int]], room: Room) -> Iterator[list[Config]]:
    """Configurations that are alive together: of one size, and as many as fit side by side into the host's memory and
    into the GPU's.

    configs: each with the bytes that its process needs, those of one size one after the other.
    """
    group: list[Config] = []
    used: Counter[bool] = Counter()  # bytes, on the GPU and off it
    for config, needed in configs:
        free, taken = room.of(config), _taken(config, needed)
        full = free is not None and used[config.on_device] + taken > free
        if group and (config.size != group[0].size or full):
            yield group
            group = []
            used.clear()
        group.append(config)
        used[config.on_device] += taken
    if group:
        yield group


def _taken(config: Config, needed: int) -> int:
    """Of a GPU an engine takes more than it needs: all scores of an attention at once, where they fit."""
    if not config.on_device or config.job.kind != "package":
        return needed
    width, height = config.padded
    return needed + config.package.manifest.cost[LOOP].plain_live_bytes.at(height, width)
