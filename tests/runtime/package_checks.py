"""What the tests of packages share: the files of a small package, what every refusal of one must say, and where
values stand in a manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

GRAPHS = ("dwt.onnx", "hfrm0.onnx", "hfrm1.onnx", "denoiser.onnx", "idwt.onnx")
FILES = (*GRAPHS, "golden.npz", "certificate.json")
CURE = re.compile(r"(build|copy) .*again|update the runtime|do not use|check its permissions|export\.build", re.I)
Path_ = tuple[Any, ...]


def check_refused(error: BaseException, *words: str) -> None:
    message = str(error)
    for word in ("/", *words):  # "/": the path of the package or file
        assert word in message, f"{word!r} is not in {message!r}"
    assert CURE.search(message), f"no cure in {message!r}"
    assert "\n" not in message
    assert len(message) < 1000


def nodes(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Paths of every value in the manifest but those in ``provenance``, and three elements of a long list."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            if (*path, key) != ("provenance",):
                yield from nodes(inner, (*path, key))
            else:
                yield (*path, key)
    elif isinstance(value, list):
        wanted = range(len(value)) if len(value) < 20 else (0, len(value) // 2, len(value) - 1)
        for index in wanted:
            yield from nodes(value[index], (*path, index))


def at(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def last_key(path: Path_) -> str:
    return next(key for key in reversed(path) if isinstance(key, str))
