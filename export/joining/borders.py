"""Padding and cropping inside of a graph, for photos of any size from 1x1 up.

Padding is a Gather by indices that are worked out from the photo's size, by the rule of ``docs/package.md``: ONNX's Pad
refuses reflection by as much as the side less one, and few hosts have it for sizes that are not known beforehand.
"""

from __future__ import annotations

import numpy as np

from .joined import Joined


def pad(graph: Joined, image: str, multiple: int) -> str:
    """image (1, 3, H, W) -> the same, padded to the right and the bottom to multiples of ``multiple``."""
    whole = {"multiple": multiple, "multiple_less_1": multiple - 1, "zero": 0, "one": 1, "two": 2}
    of = {name: graph.constant(f"pad/{name}", np.array(value, np.int64)) for name, value in whole.items()}
    only = graph.constant("pad/first", np.array([0], np.int64))
    for axis, side in ((2, "height"), (3, "width")):

        def make(part: str, operator: str, *read: str, side: str = side, **attributes: int) -> str:
            return graph.add(operator, read, f"pad/{side}/{part}", **attributes)

        size = make("size", "Squeeze", make("shape", "Shape", "image", start=axis, end=axis + 1), only)
        units = make("units", "Div", make("above", "Add", size, of["multiple_less_1"]), of["multiple"])
        position = make("position", "Range", of["zero"], make("padded", "Mul", units, of["multiple"]), of["one"])
        # there and back again: 0 1 2 3 2 1 for 4 pixels; 1 pixel is its own way
        way = make("way", "Mul", make("less_1", "Sub", size, of["one"]), of["two"])
        way = make("way_or_1", "Max", way, of["one"])
        there = make("there", "Mod", position, way)
        index = make("index", "Min", there, make("back", "Sub", way, there))
        image = make("image", "Gather", image, index, axis=axis)
    return image


def crop(graph: Joined, padded: str, made: str) -> str:
    """The first H rows and W columns of ``padded``, H and W the sizes of the graph's ``image``."""
    first = graph.constant("crop/first", np.zeros(2, np.int64))
    size = graph.add("Shape", ["image"], "crop/size", start=2, end=4)
    return graph.add("Slice", [padded, first, size, graph.constant("crop/axes", np.array([2, 3]))], made)
