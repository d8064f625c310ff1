"""ncnn's network text (.param) as pnnx 20261020 writes it, with what is slow in it put right."""

from __future__ import annotations

import re

_PLACES_FIRST = re.compile(r'6="1w,1h,(\d+),1"')  # (places, C) transposed, then shaped like the second input


def finish(param: str) -> str:
    """The text with the same number of layers and tensors.

    A transpose and then a reshape to another tensor's size takes 18 ms a place in ncnn 1.0.20261020 (98 of 360 ms of a
    step at 600x400, full size, two cores); reshaped first and permuted then it is 0.1 ms.

    Attention, (places, C) x (C, places), softmax, x (C, places) transposed, becomes ncnn's fused layer SDPA: on x86 it
    never holds a score for each query and key (at 8,160 places 63 in place of 331 MiB, and less time).
    """
    lines = param.splitlines()
    for index in range(len(lines) - 2):
        scores, softmax, weighted = (line.split() for line in lines[index : index + 3])
        if _is_attention(scores, softmax, weighted):
            (query, key), value, result = scores[4:6], weighted[5], weighted[6]
            keys, values = scores[6], softmax[5]  # the names of tensors that are gone
            lines[index] = _layer("Permute", scores[1], [key], keys, "0=1")
            lines[index + 1] = _layer("Permute", softmax[1], [value], values, "0=1")
            lines[index + 2] = _layer("SDPA", weighted[1], [query, keys, values], result, "6=1.0")
    for index, line in enumerate(lines):
        match = _PLACES_FIRST.search(line)
        words, before = line.split(), lines[index - 1].split()
        if match and words[0] == "Reshape" and before[0] == "Permute" and before[5] == words[4]:
            source, between, like, result = before[4], words[4], words[5], words[6]
            lines[index - 1] = _layer("Reshape", words[1], [source, like], between, f'6="{match[1]},1w,1h"')
            lines[index] = _layer("Permute", before[1], [between], result, "0=4")
    return "\n".join(lines) + "\n"


def _is_attention(scores: list[str], softmax: list[str], weighted: list[str]) -> bool:
    """Three layers of which each takes what the one before made; the softmax is over the keys."""
    return (
        [scores[0], *scores[2:4], *scores[7:]] == ["MatMul", "2", "1"]
        and [softmax[0], softmax[4], *softmax[6:]] == ["Softmax", scores[6], "0=2", "1=1"]
        and [weighted[0], weighted[4], *weighted[7:]] == ["MatMul", softmax[5], "0=1"]
    )


def _layer(kind: str, name: str, inputs: list[str], output: str, options: str) -> str:
    return f"{kind:<24} {name:<24} {len(inputs)} 1 {' '.join(inputs)} {output} {options}"
