"""Frames through an enhancer: the pictures of single calls, in order, with the host's work beside the engine's."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from null_backend import open_null

from runtime import EngineError, Enhancer, InputError


def frame(seed: int, height: int = 33, width: int = 50, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=dtype)


@pytest.fixture(scope="module")
def enhancer(tiny_package):
    with Enhancer.open(tiny_package) as opened:
        yield opened


@pytest.fixture
def null(tiny_package):
    with open_null(tiny_package) as opened:
        yield opened


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("diffll-stream")]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_result_is_that_of_a_single_call(enhancer, count):
    frames = [frame(seed) for seed in range(count)]
    found = list(enhancer.stream(frames, steps=2, seed=5))
    assert len(found) == count
    for one, result in zip(frames, found, strict=True):
        np.testing.assert_array_equal(result, enhancer(one, steps=2, seed=5))
    assert not workers()


def test_sixteen_bits_samplers_and_noise(enhancer):
    frames = [frame(1, dtype=np.uint16), frame(2, dtype=np.uint16)]
    noise = np.random.default_rng(0).standard_normal(enhancer.noise_shape(33, 50), np.float32)
    found = enhancer.stream(frames, steps=3, sampler="dpmpp-2m", noise=noise)
    for one, result in zip(frames, found, strict=True):
        assert result.dtype == np.uint16
        np.testing.assert_array_equal(result, enhancer(one, steps=3, sampler="dpmpp-2m", noise=noise))


def test_a_camera_may_fill_one_array_again_and_again(enhancer):
    def camera() -> Iterator[np.ndarray]:
        array = np.empty((33, 50, 3), np.uint8)
        for seed in range(4):
            array[:] = frame(seed)
            yield array

    for seed, result in enumerate(enhancer.stream(camera(), steps=1)):
        np.testing.assert_array_equal(result, enhancer(frame(seed), steps=1))


def test_frames_are_taken_one_further_than_the_result(null):
    taken = []

    def camera() -> Iterator[np.ndarray]:
        for index in range(6):
            taken.append(index)
            yield frame(index)

    made = null.backend.buffers_made
    stream = null.stream(camera())
    assert taken == []
    assert null.backend.buffers_made == made
    for index in range(4):
        next(stream)
        assert taken == list(range(index + 2))


def test_the_host_prepares_the_next_frame_while_the_engine_works(null):
    """The engine does not finish the first frame before the second is asked for, and so on."""
    asked = [threading.Event() for _ in range(5)]
    bind, frames_done = null.backend.bind, []

    def waiting_bind(stage, tensors, **rest):
        call = bind(stage, tensors, **rest)
        if stage != "idwt":
            return call

        def idwt():
            assert asked[len(frames_done) + 1].wait(20), "the next frame is not prepared meanwhile"
            frames_done.append(1)
            call()

        return idwt

    null.backend.bind = waiting_bind

    def camera() -> Iterator[np.ndarray]:
        for index, event in enumerate(asked):
            event.set()
            if index < 4:
                yield frame(index)

    assert len(list(null.stream(camera(), steps=1))) == 4


def test_buffers_are_those_of_two_frames_however_many_come(null):
    list(null.stream([frame(0)] * 2, steps=1))
    made = null.backend.buffers_made
    list(null.stream([frame(0)] * 20, steps=1))
    assert null.backend.buffers_made - made == made - 2  # all but the table of steps, which was there


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (frame(0, 34, 50), r"frame 3: it is 50x34 and the first was 50x33; open a stream for each size"),
        (frame(0)[:, :, 0], r"frame 3: the photo is uint8 of shape \(33, 50\)"),
        (None, r"frame 3: the photo is a NoneType"),
        (np.zeros((1, 33, 50, 3), np.uint8), r"frame 3: the photo is uint8 of shape \(1, 33, 50, 3\)"),
    ],
)
def test_a_bad_frame_is_named_after_the_results_before_it(null, bad, reason):
    found = []
    with pytest.raises(InputError, match=reason):
        found.extend(null.stream([frame(0), frame(1), frame(2), bad, frame(4)], steps=1))
    assert len(found) == 3
    assert not workers()


def test_what_the_frames_raise_comes_out_after_the_results_before_it(null):
    def camera() -> Iterator[np.ndarray]:
        yield frame(0)
        yield frame(1)
        raise OSError("the cable is out")

    found = []
    with pytest.raises(OSError, match="the cable is out"):
        found.extend(null.stream(camera(), steps=1))
    assert len(found) == 2
    assert not workers()


def test_an_engine_that_fails_does_so_at_its_frame(null):
    bind, calls = null.backend.bind, []

    def failing_bind(stage, tensors, **rest):
        call = bind(stage, tensors, **rest)

        def run():
            calls.append(stage)
            if calls.count("dwt") == 3:
                raise EngineError("the third frame is too much")
            call()

        return run

    null.backend.bind = failing_bind
    found = []
    with pytest.raises(EngineError, match="the third frame"):
        found.extend(null.stream([frame(0)] * 5, steps=1))
    assert len(found) == 2
    null.backend.bind = bind
    assert len(list(null.stream([frame(0)] * 3, steps=1))) == 3


def test_mistakes_in_the_arguments_are_told_at_once_or_with_the_first_frame(null):
    with pytest.raises(InputError, match="steps is 7"):
        null.stream([], steps=7)
    with pytest.raises(InputError, match="sampler 'x'"):
        null.stream([], sampler="x")
    with pytest.raises(InputError, match="frame 0: noise is float32"):
        next(null.stream([frame(0)], noise=np.zeros((3, 1, 1), np.float32)))


def test_closing_early_ends_the_work_and_the_enhancer_goes_on(enhancer):
    expected = enhancer(frame(7), steps=1)
    taken = []

    def camera() -> Iterator[np.ndarray]:
        for index in range(100):
            taken.append(index)
            yield frame(index)

    stream = enhancer.stream(camera(), steps=1)
    next(stream)
    stream.close()
    assert taken == [0, 1]
    assert not workers()
    with pytest.raises(StopIteration):
        next(stream)
    dropped = enhancer.stream(camera(), steps=1)
    next(dropped)
    del dropped
    gc.collect()
    assert not workers()
    np.testing.assert_array_equal(enhancer(frame(7), steps=1), expected)


def test_calls_and_other_streams_go_on_between_the_frames_in_any_thread(enhancer):
    frames = [frame(seed) for seed in range(4)]
    expected = [enhancer(one, steps=2) for one in frames]
    single = enhancer(frame(9, 24, 24), steps=1)

    def whole(_: int) -> list[np.ndarray]:
        return list(enhancer.stream(frames, steps=2))

    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(whole, index) for index in range(2)]
        calls = [pool.submit(enhancer, frame(9, 24, 24), steps=1) for _ in range(4)]
        found = []
        for result in enhancer.stream(frames, steps=2):
            found.append(result)
            np.testing.assert_array_equal(enhancer(frame(9, 24, 24), steps=1), single)  # in this thread too
        for results in (found, *(other.result() for other in others)):
            for one, result in zip(expected, results, strict=True):
                np.testing.assert_array_equal(result, one)
        for call in calls:
            np.testing.assert_array_equal(call.result(), single)


def test_the_engine_has_one_user_at_a_time(null):
    bind, inside, most = null.backend.bind, [], []

    def counting_bind(stage, tensors, **rest):
        call = bind(stage, tensors, **rest)

        def run():
            inside.append(stage)
            most.append(len(inside))
            time.sleep(0.001)
            call()
            inside.pop()

        return run

    null.backend.bind = counting_bind
    with ThreadPoolExecutor(3) as pool:
        streams = [pool.submit(list, null.stream([frame(0)] * 5, steps=2)) for _ in range(2)]
        calls = [pool.submit(null, frame(0), steps=2) for _ in range(5)]
        for future in (*streams, *calls):
            future.result()
    assert max(most) == 1


def test_closing_the_enhancer_ends_its_streams_with_an_error(tiny_package):
    enhancer = Enhancer.open(tiny_package)
    stream = enhancer.stream([frame(seed) for seed in range(5)], steps=1)
    next(stream)
    enhancer.close()
    with pytest.raises(EngineError, match="closed"):
        list(stream)
    assert not workers()
    with pytest.raises(EngineError, match="closed"):
        list(enhancer.stream([frame(0)]))


def test_timings_are_those_of_the_frame_that_came_last(enhancer):
    for result in enhancer.stream([frame(0), frame(1)], steps=2):
        assert result.shape == (33, 50, 3)
        assert set(enhancer.timings) >= {"pad", "upload", "denoiser", "download", "crop"}
        assert len(enhancer.step_timings) == 2


def test_a_thread_sees_the_timings_of_its_own_calls(null):
    started, done = threading.Event(), threading.Event()

    def other() -> int:
        null(frame(0), steps=5)
        started.set()
        assert done.wait(20)
        return len(null.step_timings)

    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(other)
        assert started.wait(20)
        assert (null.timings, null.step_timings, null.why) == ({}, [], "")
        null(frame(0), steps=2)
        assert len(null.step_timings) == 2
        done.set()
        assert seen.result() == 5


def test_tables_of_steps_do_not_only_grow(null):
    for steps in range(1, 30):
        null(frame(0), steps=steps, sampler="dpmpp-2m")
    assert len(null.runner._tables) <= 8
