"""Package.open on any manifest: only a sound one opens, and nothing but PackageError comes out of any other."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_places import Path_, at, last_key, nodes, others
from package_checks import FILES, check_refused

from runtime.errors import PackageError
from runtime.package.manifest import Manifest
from runtime.package.reading import Package


@pytest.fixture(scope="module")
def shared(tiny_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy whose manifest every test writes anew before it opens the package; the other files stay."""
    return Path(shutil.copytree(tiny_package, tmp_path_factory.mktemp("shared") / "package"))


@pytest.fixture(scope="module")
def good(tiny_package: Path) -> bytes:
    return (tiny_package / "manifest.json").read_bytes()


@pytest.fixture
def content(good: bytes) -> Any:
    """The manifest as JSON, to be changed."""
    return json.loads(good)


@pytest.fixture
def try_open(shared: Path) -> Callable[[Any], Package]:
    """Open the package with this manifest: bytes, or content to be written as JSON."""

    def attempt(manifest: Any) -> Package:
        text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        (shared / "manifest.json").write_bytes(text)
        return Package.open(shared)

    return attempt


def refuse(try_open: Callable[[Any], Package], manifest: Any, *words: str) -> None:
    with pytest.raises(PackageError) as caught:
        try_open(manifest)
    check_refused(caught.value, "manifest.json", *words)


# --- what does not matter


def test_order_of_keys_white_space_and_free_provenance_do_not_matter(
    try_open: Callable[[Any], Package], content: Any, tiny_package: Path
) -> None:
    want = Package.open(tiny_package).manifest
    turned = {key: content[key] for key in reversed(content)}
    assert try_open(json.dumps(turned, indent=7).encode()).manifest == want
    content["provenance"] = {"anything": [{"at": None}], "all": 1}
    assert try_open(content).manifest.provenance == content["provenance"]


# --- the names of files


BAD_NAMES = [
    "../x", "..", ".", "", "/etc/passwd", "a/b", "./dwt.onnx", "a\\b", "..\\x", "C:x", ".hidden", "-x", "x y",
    "dwt.onnx\n", "dwt.onnx\0", "\0", "x" * 101, "x" * 100_000, "é.onnx",
    "d\u200bwt.onnx", "~", "$HOME", "%2e%2e", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=[ascii(name)[:20] for name in BAD_NAMES])
@pytest.mark.parametrize("used", [True, False], ids=["a stage's", "only listed"])
def test_file_names_are_names(
    try_open: Callable[[Any], Package], content: Any, shared: Path, name: str, used: bool
) -> None:
    (shared.parent / "x").write_bytes((shared / "dwt.onnx").read_bytes())  # what ../x would find
    entry = content["files"]["dwt.onnx"]
    if used:
        content["stages"][0]["file"] = name
        content["files"] = {name if key == "dwt.onnx" else key: value for key, value in content["files"].items()}
    else:
        content["files"][name] = entry
    with pytest.raises(PackageError) as caught:
        try_open(content)
    check_refused(caught.value, "not a plain name", ascii(name)[1:6] if name.isascii() else "")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_used_but_not_listed(try_open: Callable[[Any], Package], content: Any, name: str) -> None:
    del content["files"][name]
    refuse(try_open, content, repr(name), "not listed")


# --- the manifest's keys and values


def test_format(try_open: Callable[[Any], Package], content: Any) -> None:
    for name in ("onnx", "", "diffll-package2", "DIFFLL-PACKAGE", "x" * 100_000):
        refuse(try_open, content | {"format": name}, "format", "diffll-package")


@pytest.mark.parametrize(
    ("version", "cure"),
    [(4, "Update the runtime."), (10**4000, "Update the runtime."), (1, "build"), (0, "build"), (-1, "build")],
)
def test_format_version(try_open: Callable[[Any], Package], content: Any, version: int, cure: str) -> None:
    # a newer format may have any other key: the version is what has to be said
    changed = content | {"format_version": version, "news": 1}
    refuse(try_open, changed, "format version", "reads 2 and 3", cure)


OBJECTS = {
    "": (),
    "image": ("image",),
    "schedule": ("schedule",),
    "samplings.published": ("samplings", "published"),
    "stages[]": ("stages", 3),
    "stages[].inputs[]": ("stages", 3, "inputs", 4),
    "stages[].outputs[]": ("stages", 0, "outputs", 1),
    "files.*": ("files", "golden.npz"),
    "cost": ("cost",),
    "cost.*": ("cost", "denoiser"),
    "cost.*.*": ("cost", "idwt", "live_bytes"),
}


@pytest.mark.parametrize("path", OBJECTS.values(), ids=["top", *list(OBJECTS)[1:]])
@pytest.mark.parametrize("key", ["news", "", "x" * 100_000, "a\nb", "\ud800"], ids=lambda key: ascii(key)[:8])
def test_unknown_key(try_open: Callable[[Any], Package], content: Any, path: Path_, key: str) -> None:
    at(content, path)[key] = 1
    refuse(try_open, content, "unknown key", repr(key)[:10], *(part for part in path if isinstance(part, str)))


def test_every_kind_of_object_was_tried(content: Any) -> None:
    kinds = set()
    for path in [(), *nodes(content)]:
        free = path[:1] == ("provenance",) or path[-1:] == ("judged",) or path in [("files",), ("samplings",)]
        if isinstance(at(content, path), dict) and not free:
            kind = ".".join("[]" if isinstance(key, int) else key for key in path).replace(".[]", "[]")
            if path[:1] in (("files",), ("cost",)):
                kind = ".".join((kind.partition(".")[0], *"*" * (len(path) - 1)))
            kinds.add(kind)
    assert kinds == set(OBJECTS)


def test_every_missing_key_is_named(try_open: Callable[[Any], Package], content: Any) -> None:
    keys = [path for path in nodes(content) if isinstance(path[-1], str)]
    assert len(keys) > 80
    for path in keys:
        changed = copy.deepcopy(content)
        del at(changed, path[:-1])[path[-1]]
        refuse(try_open, changed, repr(path[-1]), "not listed" if path[0] == "files" and len(path) == 2 else "missing")


def test_every_value_of_another_type_is_refused(good: bytes) -> None:
    """Before a file of the package is looked for, so without one, and with a schedule of a tenth of the length."""
    whole = Manifest.from_json(good, "a/manifest.json")
    few = {name: getattr(whole, name)[::10] for name in ("betas", "alphas_cumprod")}
    content, tried = json.loads(replace(whole, num_train_timesteps=20, **few).to_json()), 0
    for turn, path in enumerate(nodes(content)):
        holder, key, value = at(content, path[:-1]), path[-1], at(content, path)
        for other in others(value, turn):
            if path[-2:-1] == ("shape",) and other == 7:  # numbers and names are both sizes
                continue
            holder[key] = other
            with pytest.raises(PackageError) as caught:
                Manifest.from_json(json.dumps(content).encode(), "a/manifest.json")
            check_refused(caught.value, "manifest.json", last_key(path))
            tried += 1
        holder[key] = value
    assert tried > 1000
    Manifest.from_json(json.dumps(content).encode(), "a/manifest.json")


@pytest.mark.parametrize("name", ["betas", "alphas_cumprod"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "0.0", "1.0", "-0.1", "1", "true", "null"])
def test_schedule_arrays_are_numbers_between_0_and_1(
    try_open: Callable[[Any], Package], content: Any, name: str, number: str
) -> None:
    for index in (0, 77, 199):
        changed = copy.deepcopy(content)
        changed["schedule"][name][index] = "@"
        refuse(try_open, json.dumps(changed).replace('"@"', number).encode(), "schedule", name)


def test_schedule_arrays_of_another_length(try_open: Callable[[Any], Package], content: Any) -> None:
    for name in ("betas", "alphas_cumprod"):
        whole = content["schedule"][name]
        for values in ([], whole[:-1], [*whole, 0.5]):
            refuse(try_open, content | {"schedule": content["schedule"] | {name: values}}, name, "200")


BAD_VALUES: list[tuple[Path_, Any]] = [
    (("precision",), "fp64"),
    (("precision",), ""),
    (("levels",), 0),
    (("levels",), 4),
    (("levels",), 10**4000),
    (("image", "pad_multiple"), 2),
    (("image", "pad_multiple"), 17),
    (("image", "pad_multiple"), 0),
    (("image", "pad_multiple"), -16),
    (("image", "pad_multiple"), 2048),
    (("image", "colour_order"), "BGR"),
    (("image", "layout"), "NHWC"),
    (("image", "range"), [0.0, 255.0]),
    (("image", "padding"), "zero"),
    (("image", "rounding"), "round"),
    (("schedule", "num_train_timesteps"), 0),
    (("schedule", "num_train_timesteps"), 10**9),
    (("schedule", "num_inference_steps"), 0),
    (("schedule", "num_inference_steps"), 201),
    (("schedule", "num_inference_steps"), 6),
    (("schedule", "eta"), 1.0),
    (("schedule", "update"), "x_next = c0*x_t"),
    (("files", "dwt.onnx", "sha256"), "0" * 63),
    (("files", "dwt.onnx", "sha256"), "A" * 64),
    (("files", "dwt.onnx", "sha256"), "0" * 64 + "\n"),
    (("files", "dwt.onnx", "sha256"), "x" * 100_000),
    (("files", "dwt.onnx", "bytes"), -1),
    (("files", "dwt.onnx", "bytes"), 2**31 + 1),
    (("cost", "dwt", "weight_bytes"), -1),
    (("cost", "dwt", "weight_bytes"), 2**31 + 1),
    (("cost", "denoiser", "flop", "per_pixel"), -1.0),
    (("cost", "denoiser", "flop", "per_pixel"), float("inf")),
    (("cost", "idwt", "live_bytes", "constant"), float("nan")),
    (("cost", "idwt", "live_bytes", "per_pixel_squared"), 1e19),
    (("stages", 0, "inputs", 0, "name"), "photo"),
    (("stages", 0, "inputs", 0, "name"), "x" * 100_000),
    (("stages", 0, "outputs", 0, "name"), "details0"),
    (("stages", 3, "inputs", 3, "name"), "t"),
    (("stages", 4, "inputs", 1, "name"), "x_0"),
    (("stages", 0, "inputs", 0, "dtype"), "float64"),
    (("stages", 0, "inputs"), []),
    (("stages", 3, "outputs"), []),
    (("stages", 0, "file"), "nothing.onnx"),
    (("stages", 0, "file"), "x" * 100_000),
]
BAD_SIZES = ["height/0", "height/00", "height/04", "height/\u0664", "height/1000", "height/", "height/-2", "Height"]
BAD_SIZES += ["batch/2", "height /2", "height/2\n", "", "4", "x" * 100_000]


@pytest.mark.parametrize(("path", "value"), BAD_VALUES, ids=lambda part: str(part)[:30])
def test_values_out_of_range(try_open: Callable[[Any], Package], content: Any, path: Path_, value: Any) -> None:
    at(content, path[:-1])[path[-1]] = value
    refuse(try_open, content, "inputs" if path[-1] == "name" else last_key(path) if path[-1] != "file" else "listed")


@pytest.mark.parametrize("size", [*BAD_SIZES, 0, -1, 1 << 16, 10**4000], ids=lambda size: ascii(size)[:15])
def test_sizes_of_a_tensor(try_open: Callable[[Any], Package], content: Any, size: Any) -> None:
    content["stages"][0]["inputs"][0]["shape"][2] = size
    refuse(try_open, content, "stages[0]", "inputs[0]", "shape")


def test_stages(try_open: Callable[[Any], Package], content: Any) -> None:
    dwt, hfrm0, hfrm1, denoiser, idwt = content["stages"]
    for stages in (
        [],
        [dwt],
        [dwt, hfrm0, hfrm0, denoiser, idwt],
        [dwt, hfrm1, hfrm0, denoiser, idwt],
        [idwt, hfrm0, hfrm1, denoiser, dwt],
        [dwt, hfrm0, hfrm1, idwt],
        [dwt, hfrm0, hfrm1, denoiser, idwt, idwt],
        [dwt, dwt, hfrm0, hfrm1, denoiser, idwt],
        [dwt, hfrm0, hfrm1, denoiser, idwt | {"name": "IDWT"}],
        [dwt, hfrm0, hfrm1, denoiser, idwt | {"name": "x" * 100_000}],
    ):
        refuse(try_open, content | {"stages": stages}, "stages", "2 wavelet levels")
    for levels in (1, 3):
        refuse(try_open, content | {"levels": levels}, "stages", f"{levels} wavelet levels")
    swapped = [dwt, hfrm0 | {"name": "hfrm1"}, hfrm1 | {"name": "hfrm0"}, denoiser, idwt]
    swapped[1:3] = swapped[2:0:-1]
    refuse(try_open, content | {"stages": swapped}, "hfrm0", "details0")


# --- the manifest's bytes


def test_truncated_manifest(try_open: Callable[[Any], Package], good: bytes) -> None:
    whole = len(good.rstrip())
    for offset in sorted({*range(0, whole, 41), *range(20), *range(whole - 20, whole)}):
        refuse(try_open, good[:offset], "not whole JSON")
    try_open(good[:whole])


NOT_JSON = [
    b"", b" ", b"\0", b"\0" * 4096, b"hello", b"\xff\xfe\xfd", b"\x80abc", b"PK\x03\x04", b"{", b"{]", b"{'format': 1}",
    b"{}{}", b'{"a": 1,}', b'{"a": "\xff"}', b'{"a": "\\ud8"}', b"\xff\xfe{", b"1" * 5000, b"-", b"[1e", b"// {}\n{}",
]  # fmt: skip
NO_OBJECT = [b"[]", b"null", b"1", b'"manifest"', b"true", b"NaN", b"[{}]", b'"' + b"x" * 100_000 + b'"']


def test_no_json(try_open: Callable[[Any], Package]) -> None:
    for text in NOT_JSON:
        refuse(try_open, text, "not whole JSON")
    for text in NO_OBJECT:
        refuse(try_open, text, "object is wanted")
    refuse(try_open, b"{}", "'format'", "missing")


@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
@pytest.mark.parametrize("path", [("format",), ("levels",), ("stages", 0), ("stages", 0, "inputs", 0, "shape", 0)])
def test_nesting(try_open: Callable[[Any], Package], content: Any, pair: tuple[bytes, bytes], path: Path_) -> None:
    """Also at the depth that json just reads: showing such a value in a message must not fail either."""
    at(content, path[:-1])[path[-1]] = "@"
    before, after = json.dumps(content).encode().split(b'"@"')
    for depth in (10, 100, *range(850, 1000), 100_000):
        refuse(try_open, before + pair[0] * depth + b"1" + pair[1] * depth + after)
    refuse(try_open, pair[0] * 100_000)


def test_manifest_over_the_size_limit(try_open: Callable[[Any], Package], good: bytes) -> None:
    limit = 1 << 20
    assert try_open(good + b" " * (limit - len(good)))
    refuse(try_open, good + b" " * (limit - len(good) + 1), "larger", f"{limit:,}")
    refuse(try_open, b" " * (20 << 20), "larger")


def test_mutated_bytes_give_package_errors_only(
    try_open: Callable[[Any], Package], good: bytes, time_limit: Callable[[int], AbstractContextManager[None]]
) -> None:
    rng = random.Random(20)
    tokens = [*(bytes([char]) for char in b'{}[],:"-0\xff'), b"null", b"1e999", b"NaN", b"\\u0000", b"9" * 30]
    outcomes = {True: 0, False: 0}
    with time_limit(60):
        for _ in range(1500):
            text = bytearray(good)
            for _ in range(rng.choice((1, 1, 2, 8))):
                # the middle is the schedule's numbers: two thirds of the changes go elsewhere
                place = rng.choice((0, rng.randrange(700), -rng.randrange(6000)))
                place = (place or rng.randrange(20_000)) % len(text)
                kind = rng.randrange(5)
                if kind == 0:
                    text[place] = rng.randrange(256)
                elif kind == 1:
                    text[place] ^= 1 << rng.randrange(8)
                elif kind == 2:
                    del text[place : place + rng.choice((1, 2, 50))]
                elif kind == 3:
                    text[place:place] = rng.choice(tokens)
                else:
                    start = rng.randrange(len(text))
                    text[place:place] = text[start : start + rng.randrange(1, 60)]
            try:
                try_open(bytes(text))
            except PackageError as error:
                check_refused(error)
                outcomes[False] += 1
            else:
                outcomes[True] += 1
    assert outcomes[False] > 1000  # the rest changed white space, provenance or digits of the schedule
    assert outcomes[True] > 0


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS | st.sampled_from(["batch", "height/4", "dwt.onnx", "fp32", 2, 200, 0.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_any_json_in_any_place_gives_package_errors_only(try_open: Callable[[Any], Package], good: bytes) -> None:
    content = json.loads(good)
    places = list(nodes(content))

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from(places), JSON, st.booleans())
    def run(path: Path_, value: Any, add: bool) -> None:
        changed = copy.deepcopy(content)
        holder = at(changed, path[:-1])
        if add and isinstance(holder, list):
            holder.insert(path[-1], value)
        else:
            holder[path[-1]] = value
        try:
            try_open(changed)
        except PackageError as error:
            check_refused(error)

    run()
