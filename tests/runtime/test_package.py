"""Package.open and Package.read: a whole package opens, and nothing but PackageError comes out of any other."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.enhancer import Enhancer
from runtime.errors import EngineError, PackageError
from runtime.package import Package, TensorSpec

GRAPHS = ("dwt.onnx", "hfrm0.onnx", "hfrm1.onnx", "denoiser.onnx", "idwt.onnx")
FILES = (*GRAPHS, "golden.npz", "certificate.json")
CURE = re.compile(r"(build|copy) .*again|update the runtime|do not use|check its permissions|export\.build", re.I)
Path_ = tuple[Any, ...]


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """A hang becomes a failure."""

    def stop(*_: object) -> None:
        raise AssertionError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def package(tiny_package: Path, tmp_path: Path) -> Path:
    """A copy of its own for a test that changes files."""
    return Path(shutil.copytree(tiny_package, tmp_path / "package"))


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


def check_refused(error: BaseException, *words: str) -> None:
    message = str(error)
    for word in ("/", *words):  # "/": the path of the package or file
        assert word in message, f"{word!r} is not in {message!r}"
    assert CURE.search(message), f"no cure in {message!r}"
    assert "\n" not in message
    assert len(message) < 1000


def refuse(try_open: Callable[[Any], Package], manifest: Any, *words: str) -> None:
    with pytest.raises(PackageError) as caught:
        try_open(manifest)
    check_refused(caught.value, "manifest.json", *words)


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


# --- a good package


def test_a_whole_package_opens(tiny_package: Path) -> None:
    package = Package.open(tiny_package)
    manifest = package.manifest
    assert (manifest.precision, manifest.levels, manifest.pad_multiple) == ("fp32", 2, 8)
    assert (manifest.num_train_timesteps, manifest.num_inference_steps) == (200, 10)
    assert len(manifest.betas) == len(manifest.alphas_cumprod) == 200
    assert manifest.betas[0] == pytest.approx(1e-4)
    assert manifest.betas[-1] == pytest.approx(0.02)
    assert [stage.name for stage in manifest.stages] == ["dwt", "hfrm0", "hfrm1", "denoiser", "idwt"]
    assert sorted(manifest.files) == sorted(FILES)
    assert sorted(os.listdir(tiny_package)) == sorted((*FILES, "manifest.json"))
    for name in FILES:
        assert package.read(name) == (tiny_package / name).read_bytes()
    assert package.sha256 == sha256((tiny_package / "manifest.json").read_bytes()).hexdigest()


def test_the_path_may_be_a_string_and_a_link_to_the_directory(tiny_package: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tiny_package)
    for path in (str(tiny_package), tmp_path / "link", str(tmp_path / "link") + "/"):
        assert Package.open(path).manifest == Package.open(tiny_package).manifest


def test_the_manifest_goes_round(tiny_package: Path, package: Path) -> None:
    manifest = Package.open(tiny_package).manifest
    assert manifest.to_json() == (tiny_package / "manifest.json").read_text()
    (package / "manifest.json").write_text(manifest.to_json())
    assert Package.open(package).manifest == manifest


def test_order_of_keys_white_space_and_free_provenance_do_not_matter(
    try_open: Callable[[Any], Package], content: Any, tiny_package: Path
) -> None:
    want = Package.open(tiny_package).manifest
    turned = {key: content[key] for key in reversed(content)}
    assert try_open(json.dumps(turned, indent=7).encode()).manifest == want
    content["provenance"] = {"anything": [{"at": None}], "all": 1}
    assert try_open(content).manifest.provenance == content["provenance"]


def test_a_shape_in_numbers() -> None:
    spec = TensorSpec("x", "float32", ("batch", 9, "height/2", "width", "width/16"))
    assert spec.resolve(3, 64, 32) == (3, 9, 32, 32, 2)


# --- files


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_is_seen_before_the_file_is_used(package: Path, name: str, place: float) -> None:
    damaged = bytearray((package / name).read_bytes())
    damaged[round(place * (len(damaged) - 1))] ^= 1
    (package / name).write_bytes(damaged)
    opened = Package.open(package)
    with pytest.raises(PackageError) as caught:
        opened.read(name)
    check_refused(caught.value, name, "sha256", opened.manifest.files[name][0][:12])
    for other in set(FILES) - {name}:
        opened.read(other)


@pytest.mark.parametrize("name", GRAPHS)
def test_no_engine_sees_a_damaged_graph(package: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.backends import onnxruntime_

    damaged = bytearray((package / name).read_bytes())
    damaged[len(damaged) // 2] ^= 0x10
    (package / name).write_bytes(damaged)
    seen: list[bytes] = []

    class Session(onnxruntime_.ort.InferenceSession):  # type: ignore[misc]
        def __init__(self, graph: bytes, *others: object, **named: object) -> None:
            seen.append(graph)
            super().__init__(graph, *others, **named)

    monkeypatch.setattr(onnxruntime_.ort, "InferenceSession", Session)
    with pytest.raises(PackageError, match=name):
        Enhancer.open(package)
    assert bytes(damaged) not in seen
    assert len(seen) == GRAPHS.index(name)


def test_a_damaged_golden_sample_is_no_engine_s_fault(package: Path) -> None:
    with (package / "golden.npz").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xa5\x5a")
    with Enhancer.open(package) as enhancer, pytest.raises(PackageError, match=r"golden\.npz.*sha256"):
        enhancer.self_test()


@pytest.mark.parametrize("change", [-1, 1, -1000])
@pytest.mark.parametrize("name", FILES)
def test_wrong_size(package: Path, name: str, change: int) -> None:
    whole = (package / name).read_bytes()
    (package / name).write_bytes(whole + b"\0" if change > 0 else whole[:change])
    with pytest.raises(PackageError) as caught:
        Package.open(package)
    check_refused(caught.value, name, "bytes", f"{len(whole):,}", f"{len(whole) + change:,}")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_missing_file(package: Path, name: str) -> None:
    (package / name).unlink()
    with pytest.raises(PackageError) as caught:
        Package.open(package)
    check_refused(caught.value, name, "missing")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("kind", ["link out", "link in", "dangling link", "directory", "fifo"])
def test_links_and_other_things_than_files(package: Path, name: str, kind: str) -> None:
    file = package / name
    if kind == "link out":  # the very bytes that the manifest lists
        file.rename(package.parent / name)
        file.symlink_to(package.parent / name)
    elif kind == "link in":
        file.rename(package / "other")
        file.symlink_to("other")
    else:
        file.unlink()
        if kind == "dangling link":
            file.symlink_to("nowhere")
        elif kind == "directory":
            file.mkdir()
        else:
            os.mkfifo(file)
    with time_limit(10), pytest.raises(PackageError) as caught:
        Package.open(package)
    check_refused(caught.value, name, "link or no regular file")


@pytest.mark.parametrize("kind", ["link", "missing", "longer", "directory"])
def test_a_file_that_changes_after_open(package: Path, kind: str) -> None:
    opened = Package.open(package)
    file = package / "dwt.onnx"
    whole = file.read_bytes()
    file.unlink()
    if kind == "link":
        (package.parent / "same").write_bytes(whole)
        file.symlink_to(package.parent / "same")
    elif kind == "longer":
        file.write_bytes(whole + b"\0" * 100)
    elif kind == "directory":
        file.mkdir()
    with pytest.raises(PackageError) as caught:
        opened.read("dwt.onnx")
    check_refused(caught.value, "dwt.onnx")


def test_a_link_made_between_check_and_read_is_not_followed(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, file = Package.open(package), package / "dwt.onnx"
    before = os.lstat(file)
    file.rename(package.parent / "same")
    file.symlink_to(package.parent / "same")
    monkeypatch.setattr("runtime.package._regular_file", lambda *_: before)
    with pytest.raises(PackageError) as caught:
        opened.read("dwt.onnx")
    check_refused(caught.value, "dwt.onnx", "cannot be read")


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


def test_names_that_are_names(package: Path) -> None:
    for name in ("a", "0", "x" * 100, "a..b", "A-b_c.d"):
        content = json.loads((package / "manifest.json").read_bytes())
        old = content["stages"][0]["file"]
        (package / old).rename(package / name)
        content["stages"][0]["file"] = name
        content["files"][name] = content["files"].pop(old)
        (package / "manifest.json").write_text(json.dumps(content))
        assert Package.open(package).read(name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_used_but_not_listed(try_open: Callable[[Any], Package], content: Any, name: str) -> None:
    del content["files"][name]
    refuse(try_open, content, repr(name), "not listed")


# --- the path


def test_paths_that_are_no_package(tiny_package: Path, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    long = tmp_path / ("x" * 5000)
    for path, words in {
        tiny_package / "manifest.json": "is a file",
        tmp_path / "nothing": "does not exist",
        tiny_package / "manifest.json" / "x": "does not exist",
        tmp_path: "manifest.json: missing",
        long: "does not exist",
    }.items():
        with pytest.raises(PackageError, match=words) as caught:
            Package.open(path)
        assert CURE.search(str(caught.value))
    with pytest.raises(PackageError):
        Package.open(tmp_path / "dangling")


# --- the manifest's keys and values


def test_format(try_open: Callable[[Any], Package], content: Any) -> None:
    for name in ("onnx", "", "diffll-package2", "DIFFLL-PACKAGE", "x" * 100_000):
        refuse(try_open, content | {"format": name}, "format", "diffll-package")


@pytest.mark.parametrize(
    ("version", "cure"), [(2, "Update the runtime."), (10**4000, "Update the runtime."), (0, "build"), (-1, "build")]
)
def test_format_version(try_open: Callable[[Any], Package], content: Any, version: int, cure: str) -> None:
    # a newer format may have any other key: the version is what has to be said
    changed = content | {"format_version": version, "news": 1}
    refuse(try_open, changed, "format version", "reads 1", cure)


OBJECTS = {
    "": (),
    "image": ("image",),
    "schedule": ("schedule",),
    "stages[]": ("stages", 3),
    "stages[].inputs[]": ("stages", 3, "inputs", 4),
    "stages[].outputs[]": ("stages", 0, "outputs", 1),
    "files.*": ("files", "golden.npz"),
}


@pytest.mark.parametrize("path", OBJECTS.values(), ids=["top", *list(OBJECTS)[1:]])
@pytest.mark.parametrize("key", ["news", "", "x" * 100_000, "a\nb", "\ud800"], ids=lambda key: ascii(key)[:8])
def test_unknown_key(try_open: Callable[[Any], Package], content: Any, path: Path_, key: str) -> None:
    at(content, path)[key] = 1
    refuse(try_open, content, "unknown key", repr(key)[:10], *(part for part in path if isinstance(part, str)))


def test_every_kind_of_object_was_tried(content: Any) -> None:
    kinds = set()
    for path in [(), *nodes(content)]:
        if isinstance(at(content, path), dict) and path[:1] != ("provenance",) and path != ("files",):
            kind = ".".join("[]" if isinstance(key, int) else key for key in path).replace(".[]", "[]")
            kinds.add(re.sub(r"^files\..*", "files.*", kind))
    assert kinds == set(OBJECTS)


def test_every_missing_key_is_named(try_open: Callable[[Any], Package], content: Any) -> None:
    keys = [path for path in nodes(content) if isinstance(path[-1], str)]
    assert len(keys) > 80
    for path in keys:
        changed = copy.deepcopy(content)
        del at(changed, path[:-1])[path[-1]]
        refuse(try_open, changed, repr(path[-1]), "not listed" if path[0] == "files" and len(path) == 2 else "missing")


def test_every_value_of_another_type_is_refused(try_open: Callable[[Any], Package], content: Any) -> None:
    others: list[Any] = [None, True, "text", "", 7, -1, 0.5, float("nan"), [], [[]], [1, 2], {}, {"a": 1}]
    tried = 0
    for path in nodes(content):
        holder, key, value = at(content, path[:-1]), path[-1], at(content, path)
        for other in others:
            size = path[-2:-1] == ("shape",) and type(other) is int and other > 0  # numbers and names are both sizes
            if type(other) is type(value) or size:
                continue
            holder[key] = other
            refuse(try_open, content, last_key(path))
            tried += 1
        holder[key] = value
    assert tried > 2000
    try_open(content)


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


def test_mutated_bytes_give_package_errors_only(try_open: Callable[[Any], Package], good: bytes) -> None:
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


def test_a_package_of_another_network_is_an_error_of_ours(package: Path) -> None:
    """Graphs that are sound but not the manifest's: the engine refuses them, in our words."""
    content = json.loads((package / "manifest.json").read_bytes())
    (package / "dwt.onnx").write_bytes(b"\x08\x0a\x3a\x00")  # an empty graph
    entry = (package / "dwt.onnx").read_bytes()
    content["files"]["dwt.onnx"] = {"sha256": sha256(entry).hexdigest(), "bytes": len(entry)}
    (package / "manifest.json").write_text(json.dumps(content))
    Package.open(package).read("dwt.onnx")
    with pytest.raises(EngineError, match=r"dwt\.onnx"):
        Enhancer.open(package)
