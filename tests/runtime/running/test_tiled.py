"""Photos in strips and tiles: the same picture, and less memory, or an error that the enhancer survives."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime import EngineError, Enhancer, InputError
from runtime.errors import OutOfMemoryError
from runtime.image import to_tensor
from runtime.planning import strips as strips_module
from runtime.planning.request import Plan, Request
from runtime.running.runner import Runner

ROOT = Path(__file__).parents[3]
ENGINES = pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "ncnn"])


def dark(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)


def in_strips(enhancer: Enhancer, photo: np.ndarray, strip_height: int) -> Plan:
    height, width = photo.shape[:2]
    return replace(enhancer.plan(width, height, kind="strips", dtype=photo.dtype), strip_height=strip_height)


def in_tiles(enhancer: Enhancer, photo: np.ndarray, window: tuple[int, int], overlap: int, **more: object) -> Plan:
    height, width = photo.shape[:2]
    tiles = replace(
        enhancer.plan(width, height, kind="tiles", dtype=photo.dtype), strip_height=128, window=window, overlap=overlap
    )
    return replace(tiles, **more)


@ENGINES
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strips_give_the_picture_of_the_whole(ready_package, backend, dtype):
    photo = (dark(203, 67).astype(dtype) * (257 if dtype == np.uint16 else 1)).astype(dtype)
    with Enhancer.open(ready_package, backend=backend) as enhancer:
        whole = enhancer(photo, steps=2)
        for height in (112, 136, 208):
            found = enhancer(photo, steps=2, plan=in_strips(enhancer, photo, height))
            assert found.dtype == dtype
            difference = np.abs(found.astype(int) - whole)
            assert difference.max() <= (1 if dtype == np.uint8 else 8)


def test_strips_are_exact_with_13_rows_and_not_with_12(bundled_package, monkeypatch):
    photo = np.random.default_rng(0).integers(0, 65535, (400, 64, 3), dtype=np.uint16)
    with Enhancer.open(bundled_package) as enhancer:
        plan = in_strips(enhancer, photo, 160)
        whole = enhancer(photo, steps=1).astype(int)
        assert np.abs(enhancer(photo, steps=1, plan=plan) - whole).max() <= 1  # of 65535
        monkeypatch.setattr(strips_module, "HFRM_REACH", 12)
        assert np.abs(enhancer(photo, steps=1, plan=plan) - whole).max() > 1


@pytest.mark.parametrize("levels", [1, 3])
def test_strips_of_networks_with_other_levels(level_package, levels):
    with Enhancer.open(level_package(levels)) as enhancer:
        photo = dark(500, 40)
        plan = in_strips(enhancer, photo, strips_module.smallest_strip(levels, enhancer.manifest.pad_multiple))
        assert plan.strip_height < 300
        assert np.abs(enhancer(photo, steps=1, plan=plan).astype(int) - enhancer(photo, steps=1)).max() <= 1


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp-2m"])
def test_a_window_as_large_as_the_photo_is_the_whole(tiny_package, sampler):
    photo = dark(90, 70)
    with Enhancer.open(tiny_package) as enhancer:
        whole = enhancer(photo, steps=4, sampler=sampler)
        found = enhancer(photo, steps=4, sampler=sampler, plan=in_tiles(enhancer, photo, (72, 96), 16))
        assert np.abs(found.astype(int) - whole).max() <= 1


@ENGINES
def test_tiles_are_what_pytorch_makes_of_the_same_windows(ready_package, make_checkpoint, backend):
    import torch

    from benchmarks.tiling import sample
    from export.checkpoint import load_checkpoint
    from runtime.image import to_pixels
    from runtime.planning.windows import axis

    photo = dark(120, 150)
    model = load_checkpoint(make_checkpoint()).model()
    with torch.inference_mode():
        x_cond, details = model.split(torch.from_numpy(to_tensor(photo[None], model.arch.pad_multiple)))
        noise = np.random.default_rng(1).standard_normal(x_cond.shape, np.float32)
        rows, columns = (axis(size, 16, 4, 2) for size in x_cond.shape[2:])
        x_0 = sample(model, x_cond, torch.from_numpy(noise), 5, rows, columns, shared=False)
        restored = [hfrm(bands) for hfrm, bands in zip(model.hfrms, details, strict=True)]
        expected = to_pixels(model.merge(x_0, restored).numpy(), 120, 150, np.dtype(np.uint8))[0]
    with Enhancer.open(ready_package, backend=backend) as enhancer:
        plan = in_tiles(enhancer, photo, (64, 64), 16)
        found = enhancer(photo, noise=noise[0], steps=5, plan=plan)
        assert np.abs(found.astype(int) - expected).max() <= 1
        whole = enhancer(photo, noise=noise[0], steps=5)
        assert np.abs(found.astype(int) - whole).max() > 1  # or the windows would not be tested
        np.testing.assert_array_equal(enhancer(photo, noise=noise[0], steps=5, plan=plan), found)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_attention_over_a_part_of_the_keys(bundled_package, backend):
    """1024 places and fewer see every key: a photo of 1,120 places."""
    photo = dark(640, 448)
    with Enhancer.open(bundled_package, backend=backend) as enhancer:
        plan = in_strips(enhancer, photo, 160)
        assert plan.key_stride == 1
        whole = enhancer(photo, steps=1, plan=plan).astype(int)
        every_second = enhancer(photo, steps=1, plan=replace(plan, key_stride=2))
        difference = np.abs(every_second - whole)
        assert 0 < difference.mean() < 0.3
        assert 10 * np.log10(255**2 / np.square(difference).mean()) > 40
        if backend == "onnxruntime":
            lean = enhancer(photo, steps=1, plan=replace(plan, low_memory=True))
            assert np.abs(lean - whole).max() <= 1
        np.testing.assert_array_equal(enhancer(photo, steps=1, plan=plan), whole)  # every key again


@pytest.mark.parametrize("kind", ["strips", "tiles"])
def test_a_bf16_package(half_package, kind):
    """Between its stages tensors are bfloat16, and strips and windows copy some of them."""
    pytest.importorskip("openvino")
    photo = dark(250, 120)
    try:
        enhancer = Enhancer.open(half_package("bf16"), backend="openvino")
    except InputError:
        pytest.skip("this processor has no bfloat16 arithmetic")
    with enhancer:
        whole = enhancer(photo, steps=2).astype(int)
        plan = in_strips(enhancer, photo, 160) if kind == "strips" else in_tiles(enhancer, photo, (120, 256), 16)
        assert np.abs(enhancer(photo, steps=2, plan=plan) - whole).max() <= 2


def test_a_plan_of_other_photos_is_refused(ready_package):
    photo = dark(40, 60)
    with Enhancer.open(ready_package) as enhancer, Enhancer.open(ready_package, backend="ncnn") as other:
        whole = enhancer.plan(60, 40, kind="whole")
        with pytest.raises(InputError, match=r"the plan is for 1 photo\(s\) with 8 bits, given are 2 with 8"):
            enhancer(np.stack([photo, photo]), plan=whole)
        with pytest.raises(InputError, match=r"the plan is for 1 photo\(s\) with 8 bits, given are 1 with 16"):
            enhancer(photo.astype(np.uint16), plan=whole)
        with pytest.raises(InputError, match=r"every 2nd row and column.* is not for the backend ncnn"):
            other(photo, plan=replace(enhancer.plan(60, 40, kind="strips"), key_stride=2))
        with pytest.raises(InputError, match="-3"):
            enhancer.plan(60, 40, steps=-3)


def test_with_a_budget_no_buffers_of_other_sizes_are_kept(tiny_package):
    with Enhancer.open(tiny_package, max_memory="2GiB") as enhancer:
        for size in ((40, 60), (60, 40)):
            enhancer(dark(*size), steps=1)
        assert len(enhancer.runner.programs) == 1
        list(enhancer.stream([dark(40, 60)], steps=1))
        assert not enhancer.runner.programs


def test_timings_have_every_part(tiny_package):
    photo = dark(150, 70)
    parts = {"pad", "upload", "dwt", "hfrm0", "hfrm1", "denoiser", "idwt", "download", "crop"}
    with Enhancer.open(tiny_package) as enhancer:
        enhancer(photo, steps=4, plan=in_strips(enhancer, photo, 112))
        assert set(enhancer.timings) == parts
        assert len(enhancer.step_timings) == 4
        enhancer(photo, steps=4, plan=in_tiles(enhancer, photo, (64, 64), 16))
        assert set(enhancer.timings) == parts | {"blend"}
        assert len(enhancer.step_timings) == 4
        assert all(value > 0 for value in enhancer.timings.values())


def test_a_batch_and_a_stream_of_photos_that_do_not_fit_whole(tiny_package, monkeypatch):
    monkeypatch.setattr(Runner, "_base_bytes", lambda *_: 100 << 20)  # the budgets below are exact
    photos = np.stack([dark(300, 200, seed) for seed in range(3)])
    with Enhancer.open(tiny_package) as enhancer:
        expected = enhancer(photos, steps=1)
        needed = enhancer.plan(200, 300, steps=1, kind="whole").peak_bytes
        enhancer.runner.budget = needed - 1
        assert enhancer.plan(200, 300, steps=1).kind == "strips"
        found = enhancer(photos, steps=1)
        assert "200x300 in strips" in enhancer.why
        assert np.abs(found.astype(int) - expected).max() <= 1
        for one, result in zip(expected, enhancer.stream(photos, steps=1), strict=True):
            assert np.abs(result.astype(int) - one).max() <= 1
        enhancer.runner.budget = needed  # one fits, two of a stream do not
        for one, result in zip(expected, enhancer.stream(photos, steps=1), strict=True):
            assert np.abs(result.astype(int) - one).max() <= 1


def test_running_out_of_memory_ends_in_a_smaller_plan_and_says_so(tiny_package, monkeypatch):
    photo = dark(300, 200)
    with Enhancer.open(tiny_package) as enhancer:
        expected = enhancer(photo, steps=1)
        enhancer.runner.drop_buffers()
        backend = enhancer.backend
        real, asked = backend.buffer, []

        def buffer(spec, shape):
            asked.append(shape)
            if np.prod(shape) > 3 * 200 * 200:
                raise MemoryError(f"no {shape}")
            return real(spec, shape)

        monkeypatch.setattr(backend, "buffer", buffer)
        found = enhancer(photo, steps=1)
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert re.match(r"out of memory \(no \(1, 3, \d+, 200\)\); then 200x300 in strips of", enhancer.why)
        with pytest.raises(OutOfMemoryError, match="out of memory with the plan 200x300 whole"):
            enhancer(photo, steps=1, plan=enhancer.plan(200, 300, kind="whole"))
        monkeypatch.setattr(backend, "buffer", lambda spec, shape: (_ for _ in ()).throw(MemoryError("none")))
        with pytest.raises(EngineError, match="no smaller one is left"):
            enhancer(photo, steps=1)
        monkeypatch.undo()
        np.testing.assert_array_equal(enhancer(photo, steps=1), expected)
        assert enhancer.why == ""


@pytest.mark.parametrize("when", ["submit", "wait"])
def test_a_frame_of_a_stream_that_gets_no_memory_is_run_in_a_smaller_plan(tiny_package, monkeypatch, when):
    """Whether the engine says so at once or when its work is waited for."""
    frames = [dark(300, 200, seed) for seed in range(5)]
    with Enhancer.open(tiny_package) as enhancer:
        expected = [enhancer(frame, steps=1) for frame in frames]
        enhancer.runner.drop_buffers()
        real, jobs = enhancer.backend.sequence, []

        class Starved:
            def __init__(self, job, large):
                self.job, self.large, self.runs = job, large, 0

            def submit(self):
                self.runs += 1
                self.fail("submit")
                self.job.submit()

            def wait(self):
                self.fail("wait")
                return self.job.wait()

            def fail(self, now):
                if when == now and self.large and (len(jobs) > 2 or self.runs > 1):
                    raise OutOfMemoryError("the engine got no memory")

        def sequence(parts):
            jobs.append(Starved(real(parts), large=len(parts) > 4))  # all stages in one: whole
            return jobs[-1]

        def camera():  # fills one array again and again
            array = np.empty_like(frames[0])
            for frame in frames:
                array[:] = frame
                yield array

        monkeypatch.setattr(enhancer.backend, "sequence", sequence)
        found = list(enhancer.stream(camera(), steps=1))
        assert sum(job.large and job.runs > 1 for job in jobs) == 2  # both slots had a first frame whole
        assert re.match(r"out of memory \(the engine got no memory\); then 200x300 in strips of", enhancer.why)
    for one, result in zip(expected, found, strict=True):
        assert np.abs(result.astype(int) - one).max() <= 1


def test_what_the_app_takes_after_opening_is_counted(tiny_package):
    with Enhancer.open(tiny_package, max_memory="4GiB") as enhancer:
        photo = dark(400, 600)
        enhancer(photo, steps=1)
        before = enhancer.plan(600, 400).peak_bytes
        enhancer(photo, steps=1)
        assert enhancer.plan(600, 400).peak_bytes == before  # what the enhancer keeps is not the app's
        large, request = dark(3000, 4000), Request(3000, 4000, 1, kind="strips")
        counted = enhancer.runner.plan(request).peak_bytes
        assert counted - enhancer.runner.plan(request, held_bytes=large.nbytes).peak_bytes > 30 << 20
        del large  # it was in its plan: not the app's as well
        ballast = np.ones(200 << 17)  # 200 MiB
        grown = enhancer.plan(600, 400).peak_bytes - before
        assert 190 << 20 < grown < 240 << 20
        del ballast
        assert enhancer.plan(600, 400).peak_bytes == before


def test_what_a_failed_run_leaves_behind_is_not_the_apps(tiny_package, monkeypatch):
    """An engine's arena that stays after it got no more: the smaller plan fits beside it."""
    photo, left = dark(300, 200), []
    with Enhancer.open(tiny_package, max_memory="4GiB") as enhancer:
        enhancer.runner.budget = enhancer.plan(200, 300).peak_bytes + (8 << 20)
        real = enhancer.runner._run

        def starved(plan, *rest):
            if plan.kind == "whole":
                left.append(np.ones(50 << 17))  # 50 MiB
                raise MemoryError("the arena is full")
            return real(plan, *rest)

        monkeypatch.setattr(enhancer.runner, "_run", starved)
        assert enhancer(photo, steps=1).shape == photo.shape
        assert "then 200x300 in strips" in enhancer.why


def test_without_a_budget_a_photo_is_never_run_in_tiles(tiny_package, monkeypatch):
    monkeypatch.setattr(Runner, "_base_bytes", lambda *_: 100 << 20)
    with Enhancer.open(tiny_package) as enhancer:
        enhancer.runner.has_budget = True
        enhancer.runner.budget = enhancer.plan(600, 900).peak_bytes
        while enhancer.plan(600, 900).kind != "tiles":
            enhancer.runner.budget -= 1 << 20
        enhancer.runner.has_budget = False
        with pytest.raises(OutOfMemoryError, match=r"in tiles only, which change the picture; .* --plan tiles"):
            enhancer(dark(900, 600), steps=1)
        assert enhancer(dark(900, 600), steps=1, plan=enhancer.plan(600, 900, kind="tiles")).shape == (900, 600, 3)


LIMITED = """
import resource, sys
import numpy as np
from runtime import Enhancer, EngineError
from runtime.machine.host import resident_bytes

def virtual():
    return int(open("/proc/self/statm").read().split()[0]) * 4096

photo = np.random.default_rng(0).integers(0, 60, (1200, 800, 3), dtype=np.uint8)
with Enhancer.open(sys.argv[1]) as enhancer:
    small = photo[:64, :64]
    before = enhancer(small, steps=1)
    assert enhancer.plan(800, 1200).kind == "whole"
    resource.setrlimit(resource.RLIMIT_AS, (virtual() + (int(sys.argv[2]) << 20), resource.RLIM_INFINITY))
    try:
        enhancer(photo, steps=1)
        print("then", enhancer.why)
    except EngineError as error:
        print(type(error).__name__, error)
    # onnxruntime may wait for ever at the process's end where it gets no memory
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (enhancer(small, steps=1) == before).all()
    print("usable")
"""


@pytest.mark.parametrize(("mib", "words"), [(265, "then out of memory"), (8, "OutOfMemoryError out of memory")])
def test_an_engine_that_gets_no_memory_does_not_end_the_process(bundled_package, mib, words):
    command = [sys.executable, "-c", LIMITED, str(bundled_package), str(mib)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(words)
    assert done.stdout.endswith("usable\n")


PEAK = """
import re, sys
from runtime.cli.photos import main
assert main(sys.argv[1:]) == 0
print(int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024)
"""


@pytest.mark.parametrize("budget", [420, 300])
def test_the_budget_is_kept(bundled_package, tmp_path, budget):
    from PIL import Image

    Image.fromarray(dark(1000, 1200)).save(tmp_path / "dark.png")
    words = [str(bundled_package), str(tmp_path / "dark.png"), "-o", str(tmp_path / "bright.png"), "--steps", "1"]
    command = [sys.executable, "-c", PEAK, *words, "--max-memory", f"{budget}MiB"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "1200x1000 in strips" in done.stderr
    assert float(done.stdout) < budget


def test_mistakes_are_told(tiny_package):
    with pytest.raises(InputError, match="the memory '-2GiB' is no size above 0"):
        Enhancer.open(tiny_package, max_memory="-2GiB")
    refused = pytest.raises(InputError, match=r"16x16 photo does not fit into 10 MiB of memory; the smallest budget")
    with Enhancer.open(tiny_package, max_memory="10MiB") as enhancer, refused:
        enhancer(dark(16, 16))
    with Enhancer.open(tiny_package) as enhancer:
        with pytest.raises(InputError, match="the plan 'parts' is not known; use one of whole, strips, tiles"):
            enhancer.plan(16, 16, kind="parts")
        for size in ((0, 5), (5, -1), (5.0, 5), (True, 5)):
            with pytest.raises(InputError, match="a whole number from 1 up wanted"):
                enhancer.plan(*size)
        with pytest.raises(InputError, match="the plan is for a 20x10 photo, this one is 16x16"):
            enhancer(dark(16, 16), plan=enhancer.plan(20, 10))
