"""The decision: whole where it fits, then strips, then tiles; and memory as people write it."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from null_backend import open_null

from runtime import InputError, PackageError
from runtime.errors import OutOfMemoryError
from runtime.package.edits import with_key_stride
from runtime.package.reading import Package
from runtime.planning.decide import Planner, _Candidates
from runtime.planning.memory import mebibytes, parse_budget, parse_size, show_size
from runtime.planning.request import FILE_BYTES, Memory, Request
from runtime.planning.traits import Traits
from runtime.running.laps import Laps
from runtime.running.program import Program
from runtime.running.strips import Strips

TRAITS = Traits(live=1.4, live_rest=1.1, weights=2.0, live_low_memory=1.0, key_stride=True)
MIB = 1 << 20


@pytest.fixture(scope="module")
def plan(bundled_package):
    manifest = Package.open(bundled_package).manifest

    def make(width, height, budget=None, traits=TRAITS, **options):
        after, tiles = options.pop("after", None), options.pop("tiles", True)
        request = Request(height, width, **({"steps": 10} | options))
        return Planner(manifest, traits).decide(request, Memory(100 * MIB, budget, tiles), after=after)

    return make


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2 << 30),
        ("512 MiB", 512 << 20),
        ("1.5GB", 1_500_000_000),
        ("800m", 800_000_000),
        ("7", 7),
        (9, 9),
        ("1,234 MiB", 1234 << 20),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "-1GiB",
        "0",
        "0GiB",
        0,
        -5,
        "",
        "two",
        "1e9",
        "9" * 400,
        "1,23 MiB",
        "nan",
        "2 GiB GiB",
        True,
        None,
        1.5,
        "\u0661GiB",
    ],
)
def test_unreadable_sizes_are_refused(text):
    with pytest.raises(InputError, match="no size above 0; write it like 2GiB"):
        parse_size(text)


@pytest.mark.parametrize(("text", "told"), [("2", "2 bytes"), (2, "2 bytes"), ("1,048,575", "1,048,575 bytes")])
def test_a_budget_without_its_unit_is_told_as_what_it_is(text, told):
    with pytest.raises(InputError, match=f"the memory {text!r} is {told}, which no process fits into; write it like"):
        parse_budget(text)


def test_a_size_is_shown_in_one_way():
    """Up, so that it is enough; the number of a table is that of the sentence."""
    for size, shown in ((1 << 20, "1 MiB"), ((1936 << 20) + 1, "1,937 MiB"), ((1936 << 20) - 1, "1,936 MiB")):
        assert show_size(size) == shown == f"{mebibytes(size)} MiB"
        assert parse_size(show_size(size)) >= size
    assert show_size(2) == "2 bytes"


def test_less_memory_means_smaller_plans_and_the_promise_is_kept(plan):
    kinds, work = [], []
    for mib in range(3000, 300, -100):
        try:
            found = plan(3000, 2000, mib * MIB)
        except InputError:
            break
        assert found.peak_bytes <= mib * MIB
        kinds.append(found.kind)
        work.append(found.flop)
    order = ["whole", "strips", "tiles"]
    assert sorted(set(kinds), key=order.index) == ["strips", "tiles"]  # past the crossover nothing is whole
    assert kinds == sorted(kinds, key=order.index)
    assert plan(1200, 900, 3000 * MIB).kind == "whole"


def test_windows_shrink_step_by_step(plan):
    """What tiles differ from the whole by grows with what a window does not see: the largest windows that fit."""
    whole = 1920 * 1088
    largest = plan(1920, 1080, kind="tiles")
    assert 0.9 < largest.window[0] * largest.window[1] / whole < 1
    areas = []
    for mib in range(900, 100, -5):
        try:
            found = plan(1920, 1080, mib * MIB, kind="tiles")
        except InputError:
            break
        areas.append(found.window[0] * found.window[1] / whole)
    assert areas == sorted(areas, reverse=True)
    steps = list(dict.fromkeys(areas))
    large = [area for area in steps if area > 0.5]
    assert large[0] > 0.9
    assert all(after / before > 0.7 for before, after in pairwise(large))
    assert steps[-1] < 0.25


def test_too_small_a_budget_names_the_smallest_which_does(plan):
    with pytest.raises(InputError, match="fits into here is") as refused:
        plan(1200, 900, 200 * MIB)
    smallest = parse_size(re.search(r"fits into here is ([\d,]+ MiB)", str(refused.value))[1])
    assert 200 * MIB < smallest < 1000 * MIB
    assert plan(1200, 900, smallest).kind == "tiles"
    with pytest.raises(InputError, match="fits into here is"):
        plan(1200, 900, smallest - 2 * MIB)


def test_a_plan_that_was_asked_for_is_that_or_an_error(plan):
    for kind in ("whole", "strips", "tiles"):
        assert plan(1200, 900, kind=kind).kind == kind
    with pytest.raises(InputError, match="1200x900 photo whole does not fit"):
        plan(1200, 900, 300 * MIB, kind="whole")


def test_work_grows_with_the_pixels_past_the_crossover(plan):
    def per_pixel(width, height):
        return plan(width, height).flop / (width * height)

    assert per_pixel(3840, 2160) < 1.3 * per_pixel(1920, 1080)
    assert per_pixel(7680, 4320) < 1.3 * per_pixel(1920, 1080)
    assert plan(1920, 1080).key_stride == 1
    quadratic = plan(7680, 4320, traits=Traits(live=1.4, live_rest=1.1, weights=2.0))
    assert quadratic.key_stride == 1
    assert quadratic.flop > 3 * plan(7680, 4320).flop


@pytest.mark.parametrize(("width", "height"), [(100_000, 10), (10, 100_000), (1, 1), (65_000, 65_000)])
def test_odd_sizes_are_planned_or_refused_with_facts(plan, width, height):
    if width * height < 10**9:
        assert plan(width, height, 4096 * MIB).peak_bytes <= 4096 * MIB
    else:
        with pytest.raises(InputError, match=r"65000x65000 photo does not fit into 4,096 MiB"):
            plan(width, height, 4096 * MIB)


def test_more_depth_more_photos_and_engines_that_keep_memory_take_more(plan):
    one = plan(1200, 900).peak_bytes
    assert plan(1200, 900, depth=2).peak_bytes > one
    assert plan(1200, 900, batch=2).peak_bytes > one
    keeping = Traits(live=1.4, live_rest=1.1, weights=2.0, keeps="photo")
    assert plan(1200, 900, traits=keeping).peak_bytes > one
    in_strips = plan(1200, 900, traits=keeping, kind="strips").peak_bytes
    keeping = replace(keeping, keeps="all")
    assert plan(1200, 900, traits=keeping, kind="strips").peak_bytes > in_strips


@pytest.mark.parametrize("device", [False, True])
def test_after_running_out_of_memory_nothing_larger_is_tried(plan, device):
    traits = Traits(live=1.0, live_rest=1.0, weights=2.0, live_low_memory=None if device else 0.8, device=device)
    tried = [plan(3840, 2160, 30_000 * MIB, traits=traits)]
    for _ in range(20):
        try:
            tried.append(plan(3840, 2160, 30_000 * MIB, traits=traits, after=tried[-1]))
        except InputError:
            break
    sizes = [max(one.stage_bytes.values()) if device else one.photo_bytes for one in tried]
    assert 3 < len(tried) < 20
    assert sizes == sorted(sizes, reverse=True)


def test_a_graph_without_the_constant_is_refused(tiny_package):
    package = Package.open(tiny_package)
    graph = package.read("denoiser.onnx")
    assert with_key_stride(graph, 1, "here") == graph
    changed = with_key_stride(graph, 3, "here")
    assert len(changed) == len(graph)
    assert sum(a != b for a, b in zip(changed, graph, strict=True)) == 2
    with pytest.raises(PackageError, match="here: its attention has no key stride"):
        with_key_stride(package.read("dwt.onnx"), 2, "here")


def test_what_is_reserved_is_left_free(plan):
    """Such as the second half of a file with both pictures, where the file and not the engine decides."""
    one = plan(4000, 3000, 3000 * MIB)
    more = plan(4000, 3000, 3000 * MIB, reserve_bytes=100 * MIB)
    assert more.peak_bytes <= 3000 * MIB
    assert plan(4000, 3000, reserve_bytes=100 * MIB).peak_bytes == plan(4000, 3000).peak_bytes + 100 * MIB
    both = (100 + 64) * MIB + 2 * FILE_BYTES * 4000 * 3000
    with pytest.raises(InputError, match=r"does not fit into 554 MiB of memory; the smallest budget"):
        plan(4000, 3000, budget=both - 1, reserve_bytes=FILE_BYTES * 4000 * 3000)
    assert plan(4000, 3000, budget=one.peak_bytes).kind == one.kind


def test_tiles_change_the_picture_and_are_never_chosen_unasked(plan):
    budget = next(mib * MIB for mib in range(600, 100, -5) if plan(1200, 900, mib * MIB).kind == "tiles")
    with pytest.raises(OutOfMemoryError, match=r"in tiles only, which change the picture; give a budget \(max_memory"):
        plan(1200, 900, budget, tiles=False)
    assert plan(1200, 900, budget, tiles=False, kind="tiles").kind == "tiles"
    with pytest.raises(InputError, match="the smallest budget that it fits into"):
        plan(1200, 900, 170 * MIB, tiles=False)  # tiles would not help


def test_only_the_plan_that_is_taken_is_made(plan, monkeypatch):
    made = []
    for kind in ("whole", "strips", "tiles"):
        real = getattr(_Candidates, kind)
        monkeypatch.setattr(_Candidates, kind, lambda *args, real=real: (made.append(1), real(*args))[1])
    plan(600, 400)
    assert len(made) == 1


def test_buffers_are_those_of_the_manifest(bundled_package, half_package):
    """Image in and out, the bands, x_cond, and x_t and the history twice: what a backend is asked to make."""
    for path in (bundled_package, half_package("fp16")):
        with open_null(path) as enhancer:
            backend, real, made = enhancer.backend, enhancer.backend.buffer, []
            backend.buffer = lambda *args, real=real, made=made: (made.append(real(*args)), made[-1])[1]
            assert Program(backend, enhancer.manifest, 1, 64, 96)._loop._zeros.size  # a start of zero too
            planner = Planner(enhancer.manifest, TRAITS)
            assert round(planner.program_bytes * 64 * 96) == sum(array.nbytes for array in made)
            made.clear()
            Strips(backend, enhancer.manifest, 64, 96, Laps())
            assert round(planner.strip_bytes * 64 * 96) == sum(array.nbytes for array in made)
