"""How the TensorRT backend runs, on a GPU that is none: stages are computed by onnxruntime (``fake_tensorrt.py``)."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import numpy as np
import pytest
from sampled import with_samplings
from tensorrt_machine import build_engines, photo

from runtime import EngineError, Enhancer


@pytest.fixture
def package(tiny_package, tmp_path) -> Path:
    return shutil.copytree(tiny_package, tmp_path / "package")


@pytest.fixture(scope="module")
def reference(tiny_package):
    with Enhancer.open(tiny_package) as enhancer:
        yield enhancer


@pytest.fixture(scope="module")
def fp16_package(half_package):
    """Built before the made-up libraries are in place: torch looks at the module tensorrt while it exports."""
    return half_package("fp16")


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_the_graph_gives_what_onnxruntime_gives_for_every_size_and_number_of_steps(machine, package, reference, target):
    build_engines(package, target=target)
    with Enhancer.open(package, backend=target) as enhancer:
        assert enhancer.backend.name == target
        for steps in (1, 4, 5):
            for size in ((47, 65), (64, 40), (47, 65)):
                for seed in (1, 2):
                    found = enhancer(photo(*size, seed), steps=steps, seed=seed)
                    np.testing.assert_array_equal(found, reference(photo(*size, seed), steps=steps, seed=seed))
        assert list(enhancer.timings) == ["pad", "upload", "graph", "download", "crop"]
        assert enhancer.step_timings == []


def test_a_sequence_runs_once_is_captured_once_and_launched_ever_after(machine, package):
    build_engines(package)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        results = [enhancer(photo(), steps=4) for _ in range(5)]
        assert (machine.gpu.made["captures"], machine.gpu.made["launches"]) == (1, 4)
        assert machine.gpu.made["runs"] == 5 * 8
        assert machine.trt.contexts_made == 5  # one a stage, however many calls
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])
        enhancer(photo(), steps=2)
        enhancer(photo(96, 64), steps=2)
        assert machine.gpu.made["captures"] == 3
        assert machine.trt.contexts_made == 15  # each graph has its own
        made = machine.gpu.made["device"], machine.gpu.made["pinned"]
        for _ in range(3):
            enhancer(photo(), steps=4)
            enhancer(photo(96, 64), steps=2)
        assert (machine.gpu.made["device"], machine.gpu.made["pinned"]) == made
        assert machine.gpu.made["captures"] == 3


@pytest.mark.parametrize("integrated", [False, True])
def test_each_sampling_is_one_graph_and_a_start_of_zero_copies_no_noise(machine, package, tmp_path, integrated):
    package = with_samplings(package, tmp_path / "sampled")
    build_engines(package)
    machine.gpu.integrated = integrated
    with Enhancer.open(package, backend="tensorrt") as enhancer, Enhancer.open(package) as reference:
        copies = {}
        for round_ in range(4):
            for sampling in ("published", "fast"):
                before = machine.gpu.made["copies"]
                found = enhancer(photo(seed=round_), sampling=sampling)
                copies[sampling] = machine.gpu.made["copies"] - before
                np.testing.assert_array_equal(found, reference(photo(seed=round_), sampling=sampling))
        assert machine.gpu.made["captures"] == 2
        assert machine.gpu.made["launches"] == 2 * 3  # the first call of each ran as it was captured
        assert copies == ({"published": 1, "fast": 0} if integrated else {"published": 3, "fast": 2})
        frames = [photo(seed=seed) for seed in range(4)]
        for frame, found in zip(frames, enhancer.stream(frames, sampling="fast"), strict=True):
            np.testing.assert_array_equal(found, reference(frame, sampling="fast"))
        tall = photo(120, 64)
        for kind in ("strips", "tiles"):
            plan = enhancer.plan(64, 120, sampling="fast", kind=kind)
            expected = reference(tall, sampling="fast", plan=reference.plan(64, 120, sampling="fast", kind=kind))
            found = enhancer(tall, sampling="fast", plan=plan)
            assert np.abs(found.astype(int) - expected).max() <= 1, kind


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gpu_that_shares_the_hosts_memory_reads_and_writes_the_photo_there(
    fp16_package, machine, package, tmp_path, precision
):
    """Two copies a photo less, the photo and its result; only the noise and the tables are copied."""
    if precision == "fp16":
        package = shutil.copytree(fp16_package, tmp_path / "fp16")
    build_engines(package)
    found, copies = {}, {}
    for machine.gpu.integrated in (False, True):
        with Enhancer.open(package, backend="tensorrt") as enhancer:
            found[machine.gpu.integrated] = [enhancer(photo(seed=seed), steps=2) for seed in (1, 2, 3)]
            before = machine.gpu.made["copies"]
            found[machine.gpu.integrated].append(enhancer(photo(seed=4), steps=2))
            copies[machine.gpu.integrated] = machine.gpu.made["copies"] - before
            found[machine.gpu.integrated] += enhancer.stream((photo(seed=seed) for seed in range(4)), steps=2)
        assert machine.gpu.nothing_left()
    assert copies == {False: 3, True: 1}
    assert machine.gpu.made["mapped"] > 0
    for one, other in zip(found[False], found[True], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_dropped_shape_gives_its_memory_back(machine, package):
    build_engines(package)
    sizes = [(32, 32), (40, 32), (48, 32), (56, 32), (64, 32)]
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        used = []
        for _ in range(3):
            for size in sizes:
                enhancer(photo(*size), steps=1)
            used.append(machine.gpu.device_bytes())
        assert used[1] == used[2] <= used[0]
        assert len(machine.gpu.live["graph"]) == 2


def test_a_large_photos_memory_goes_with_it(machine, package):
    build_engines(package)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        used = []
        for large in (False, True):
            if large:
                enhancer(photo(128, 128), steps=1)
            for size in ((16, 16), (24, 16), (16, 24)):
                enhancer(photo(*size), steps=1)
            used.append(machine.gpu.device_bytes())
        assert used[0] == used[1]


def test_scratch_memory_is_one_block_for_the_stages_and_one_for_the_hfrms(machine, package):
    build_engines(package)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        enhancer(photo(), steps=2)
        (program,) = enhancer.runner.programs.values()
        (job,) = program._jobs.values()
        blocks = {name: context.context.scratch for name, _, context, _ in job._work}
        assert blocks["dwt"] == blocks["denoiser"] == blocks["idwt"] != blocks["hfrm0"] == blocks["hfrm1"]
        enhancer(photo(), steps=1)  # another sequence of this shape shares them
        other = next(one for one in program._jobs.values() if one is not job)
        assert {name: context.context.scratch for name, _, context, _ in other._work} == blocks


def test_where_the_library_cannot_capture_the_parts_run_in_order_and_it_is_said(machine, package, reference):
    machine.rtx.capturable = False
    build_engines(package, target="tensorrt-rtx")
    with Enhancer.open(package, backend="tensorrt-rtx") as enhancer:
        for seed in (1, 2):
            np.testing.assert_array_equal(enhancer(photo(), steps=4, seed=seed), reference(photo(), steps=4, seed=seed))
        assert "cannot be captured" in enhancer.backend.why
        assert machine.gpu.made["captures"] == 0
        assert list(enhancer.timings) == [
            "pad", "upload", "dwt", "hfrm0", "hfrm1", "denoiser", "idwt", "download", "crop",
        ]  # fmt: skip
        assert enhancer.step_timings == [1.0] * 4


def test_a_call_outside_the_sequence_does_not_disturb_it(machine, package, reference):
    """It has a context and a scratch block of its own, gone with the call."""
    machine.trt.capturable = False
    build_engines(package)
    expected = reference(photo(), steps=2)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        enhancer(photo(), steps=2)
        backend = enhancer.backend
        specs = enhancer.manifest.stage("hfrm0").tensors
        buffers = {name: backend.buffer(spec, spec.resolve(1, 48, 72)) for name, spec in specs.items()}
        backend.upload(buffers["details0"], np.zeros(buffers["details0"].shape, np.float32))
        backend._uploads.synchronize()
        call = backend.bind("hfrm0", buffers)
        call()
        backend._main.stream.synchronize()
        assert np.isfinite(backend.download(buffers["restored0"])).all()
        del call
        np.testing.assert_array_equal(enhancer(photo(), steps=2), expected)


def test_a_capture_that_cuda_refuses_leaves_the_parts_to_run_in_order_and_it_is_said(machine, package, reference):
    """Not at the first photo alone: the error is taken from CUDA, and no library finds it later."""
    machine.trt.fails_in_capture = True
    build_engines(package)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        for seed in (1, 2, 3):
            np.testing.assert_array_equal(enhancer(photo(), steps=2, seed=seed), reference(photo(), steps=2, seed=seed))
        assert machine.gpu.made["captures"] == 1
        assert list(enhancer.timings)[2:-2] == ["dwt", "hfrm0", "hfrm1", "denoiser", "idwt"]
        why = enhancer.backend.why
        assert "runs stage after stage" in why
        assert "could not run dwt: operation not permitted when stream is capturing" in why
        machine.trt.fails_in_capture = False
        found = list(enhancer.stream([photo(seed=seed) for seed in range(4)], steps=1))
        assert machine.gpu.made["captures"] == 3
        assert enhancer.backend.why == why
    for seed, result in enumerate(found):
        np.testing.assert_array_equal(result, reference(photo(seed=seed), steps=1))


def test_an_app_that_uses_its_second_gpu_in_a_thread_keeps_it(machine, package, reference):
    build_engines(package)
    machine.gpu.chosen.device = 1
    frames = [photo(seed=seed) for seed in range(3)]
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        found = [enhancer(photo(), steps=2) for _ in range(2)]
        assert machine.gpu.device() == 1
        streamed = list(enhancer.stream(frames, steps=2))
    assert machine.gpu.device() == 1
    for result in found:
        np.testing.assert_array_equal(result, reference(photo(), steps=2))
    for frame, result in zip(frames, streamed, strict=True):
        np.testing.assert_array_equal(result, reference(frame, steps=2))


def test_the_collector_frees_nothing_while_work_is_captured(machine):
    """What it drops frees GPU memory in whichever thread it runs in, and no capture holds that."""
    from runtime.backends.tensorrt import cuda

    stream, event, old = cuda.Stream(), cuda.Event(), gc.get_threshold()

    circle = [cuda.DeviceMemory(64)]
    circle.append(circle)  # only the collector frees it
    held = [circle]
    del circle

    def work():
        event.record(stream)
        held.clear()
        return [[] for _ in range(100)]  # at new objects the collector runs

    gc.set_threshold(1)
    try:
        graph = cuda.capture(stream, work)
    finally:
        gc.set_threshold(*old)
    assert gc.isenabled()
    gc.collect()
    assert not machine.gpu.memory
    graph.launch(stream)
    stream.synchronize()


def test_out_of_gpu_memory_names_the_cure_and_a_smaller_photo_still_works(machine, package):
    build_engines(package)
    machine.gpu.limit = 900_000
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        enhancer(photo(16, 16), steps=1)
        with pytest.raises(EngineError, match=r"cudaErrorMemoryAllocation.*smaller photo"):
            enhancer(photo(128, 128), steps=1)
        enhancer(photo(16, 16), steps=1)


def test_fp16_between_the_stages(fp16_package, machine, tmp_path):
    package = shutil.copytree(fp16_package, tmp_path / "package")
    build_engines(package)
    with Enhancer.open(package) as plain:
        expected = plain(photo(), steps=2)
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        np.testing.assert_array_equal(enhancer(photo(), steps=2), expected)


def test_auto_takes_a_gpu_that_has_engines_and_leaves_out_one_that_has_none(machine, package):
    machine.gpu.limit = 1 << 32
    with Enhancer.open(package, backend="auto") as enhancer:
        assert "not usable: tensorrt, tensorrt-rtx" in enhancer.backend.why
    build_engines(package, max_size=(256, 256))
    with Enhancer.open(package, backend="auto") as enhancer:
        assert "tensorrt " in enhancer.backend.why
        assert "not usable: tensorrt-rtx" in enhancer.backend.why


def test_a_stream_equals_single_calls(machine, package, reference):
    build_engines(package)
    frames = [photo(seed=seed) for seed in range(6)]
    with Enhancer.open(package, backend="tensorrt") as enhancer:
        found = list(enhancer.stream(frames, steps=4, seed=1))
        assert machine.gpu.made["captures"] == 2  # each of the two programs
        stream = enhancer.stream(frames, steps=4)
        next(stream)
        stream.close()
    for frame, result in zip(frames, found, strict=True):
        np.testing.assert_array_equal(result, reference(frame, steps=4, seed=1))
