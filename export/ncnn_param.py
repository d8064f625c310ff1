"""ncnn's network text (.param) as pnnx 20261020 writes it, with what is slow in it put right."""

from __future__ import annotations

import re

_PLACES_FIRST = re.compile(r'6="1w,1h,(\d+),1"')  # (places, C) transposed, then shaped like the second input


def finish(param: str) -> str:
    """The text with the same number of layers and tensors.

    A transpose and then a reshape to another tensor's size takes 18 ms a place in ncnn 1.0.20261020 (98 of 360 ms of a
    step at 600x400, full size, two cores); reshaped first and permuted then it is 0.1 ms.
    """
    lines = param.splitlines()
    for index, line in enumerate(lines):
        match = _PLACES_FIRST.search(line)
        words, before = line.split(), lines[index - 1].split()
        if match and words[0] == "Reshape" and before[0] == "Permute" and before[5] == words[4]:
            source, between, like, result = before[4], words[4], words[5], words[6]
            lines[index - 1] = _layer("Reshape", words[1], [source, like], between, f'6="{match[1]},1w,1h"')
            lines[index] = _layer("Permute", before[1], [between], result, "0=4")
    return "\n".join(lines) + "\n"


def _layer(kind: str, name: str, inputs: list[str], output: str, options: str) -> str:
    return f"{kind:<24} {name:<24} {len(inputs)} 1 {' '.join(inputs)} {output} {options}"
