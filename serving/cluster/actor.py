"""What runs on the machines of a cluster: one engine, photo after photo, by the rules of the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from runtime import Enhancer
from runtime.cli.batch import Batch, Settings
from runtime.cli.inputs import Item
from runtime.errors import DiffLLError
from runtime.machine.leftovers import scratch_folder
from runtime.photo.journal import identity


class Photos:
    """An actor. files: the package's, by name: its machine need not see the package's folder."""

    def __init__(self, files: Mapping[str, bytes], backend: str, sampling: str) -> None:
        self._life = ExitStack()
        folder = self._life.enter_context(scratch_folder("cluster"))
        for name, content in files.items():
            (folder / name).write_bytes(content)
        self._enhancer = Enhancer.open(folder, backend=backend)
        self._sampling = sampling

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Rows of input, output, root and replaces -> rows of input, output, size, changed and error."""
        rows = [self._photo(*row) for row in zip(*(batch[name] for name in _COLUMNS), strict=True)]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _photo(self, source: Any, target: Any, root: Any, replaces: Any) -> dict[str, Any]:
        item, error, found = Item(Path(str(source)), Path(str(target)), Path(str(root))), "", (0, 0)
        try:
            found = identity(item.source)
            # Without `replaces` there was none when the run began: an actor that died since has written it, whole.
            if replaces or not os.path.lexists(item.target):
                settings = Settings(sampling=self._sampling, overwrite=bool(replaces))
                Batch(self._enhancer, settings, {}, folders=True).run([item])
        except (DiffLLError, OSError) as failure:
            error = str(failure)
        return {"input": str(source), "output": str(target), "size": found[0], "changed": found[1], "error": error}


_COLUMNS = ("input", "output", "root", "replaces")
