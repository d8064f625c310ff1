"""What the tests of packages share: the files of a small package, and what every refusal of one must say."""

from __future__ import annotations

import re

GRAPHS = ("dwt.onnx", "hfrm0.onnx", "hfrm1.onnx", "denoiser.onnx", "idwt.onnx")
FILES = (*GRAPHS, "golden.npz", "certificate.json")
CURE = re.compile(r"(build|copy) .*again|update the runtime|do not use|check its permissions|export\.build", re.I)


def check_refused(error: BaseException, *words: str) -> None:
    message = str(error)
    for word in ("/", *words):  # "/": the path of the package or file
        assert word in message, f"{word!r} is not in {message!r}"
    assert CURE.search(message), f"no cure in {message!r}"
    assert "\n" not in message
    assert len(message) < 1000
